"""Image classification: a picture to labels. Pictures of equal size share batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from warmlane_workers.tasks import media
from warmlane_workers.tasks.alike import runs_alike
from warmlane_workers.tasks.base import Plan, Prepared
from warmlane_workers.tasks.pipeline import PipelineTask


class ImageClassification(PipelineTask):
    """Result: a `Table` with the columns label and score: of a single picture one row a label, best first.

    A row is a picture, as `media.picture` takes it; or a table's row with one column of pictures.
    """

    def read(self, row: Any, plan: Plan) -> Any:
        if isinstance(row, dict) and len(row) == 1:
            row = next(iter(row.values()))
        return media.picture(row, reach=self.reach)

    def groups(self, batch: Sequence[Prepared]) -> Iterator[Sequence[Prepared]]:
        yield from runs_alike(batch)
