"""Models served in this process, beside the bare pipelines they were saved from: no server, no worker."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import transformers

from warmlane.jobs import PredictJob
from warmlane.stream import AppendText, Piece
from warmlane_workers.context import JobContext
from warmlane_workers.engine import device
from warmlane_workers.engine.engine import Engine
from warmlane_workers.flavor import save_model
from warmlane_workers.modelstore import ModelStore
from warmlane_workers.observer import UNSEEN, Observer


class Records:
    """A store that no client reads: jobs report into it.

    Attributes:
        pieces: what a streaming job has told, in order.
        cancel_at: a job is cancelled when it has told so many pieces; None: never.
    """

    def __init__(self, cancel_at: int | None = None) -> None:
        self.pieces: list[Piece] = []
        self.cancel_at = cancel_at

    def run(self, op: Any) -> bool:
        if isinstance(op, AppendText):
            self.pieces.append(op.piece)
        return self.cancel_at is not None and len(self.pieces) >= self.cancel_at


class Served:
    """An engine over saved models.

    Args:
        roots: directories that rows may name files of.
        url_inputs: whether rows may be URLs.
        continuous_batching: whether texts may join batches that run.
        observer: told of what happens.
    """

    def __init__(
        self,
        root: Path,
        *,
        roots: tuple[Path, ...] = (),
        url_inputs: bool = False,
        continuous_batching: bool = True,
        observer: Observer = UNSEEN,
    ) -> None:
        self._store = ModelStore(root / "store")
        self.engine = Engine(
            self._store,
            device.find("cpu", batch_tokens=512),  # else each load measures how many suit it
            source_roots=roots,
            trust_remote_code=False,
            url_inputs=url_inputs,
            continuous_batching=continuous_batching,
            observer=observer,
            on_change=lambda: None,
        )
        self.bare: dict[str, Any] = {}

    def __enter__(self) -> Served:
        self.engine.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.engine.stop(60)

    def add(self, name: str, task: str, components: dict[str, Any], **options: Any) -> None:
        """Save a pipeline over components with options of `save_model`, and keep it to compare with."""
        components["model"].eval()
        pipeline: Any = transformers.pipeline
        self.add_pipeline(name, pipeline(task, device="cpu", **components), **options)

    def add_pipeline(self, name: str, pipeline: Any, **options: Any) -> None:
        """The same, of a pipeline."""
        self.bare[name] = pipeline
        self._store.publish(name, lambda directory: save_model(pipeline, directory, **options))

    def add_directory(self, name: str, directory: Path, task: str | None = None) -> None:
        """Save a checkpoint, or what MLflow wrote."""
        self._store.publish(name, lambda target: save_model(directory, target, task=task))

    def predict(self, name: str, inputs: Any, **params: Any) -> Any:
        """What a predict job answers, in single precision."""
        return self.answer(PredictJob(model=name, inputs=inputs, params=params, dtype="float32"))

    def answer(self, job: PredictJob) -> Any:
        """What a predict job answers."""
        return self.told(job, Records())

    def told(self, job: PredictJob, records: Records) -> Any:
        """The same, with what the job told meanwhile left in `records`."""
        return self.engine.predict(job, JobContext(records, "0" * 32, 1))  # type: ignore[arg-type]

    def at_once(self, name: str, jobs: Sequence[Any], **params: Any) -> list[Any]:
        """The jobs' results, in order; all are sent together, so that their rows meet in batches."""
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(lambda inputs: self.predict(name, inputs, **params), jobs))


def seeded(make: Any) -> dict[str, Any]:
    """Components with weights from a fixed seed."""
    torch.manual_seed(7)
    made: dict[str, Any] = make()
    return made
