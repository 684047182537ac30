"""What a job asks of a task, row by row; and whose fault an error is that nobody can explain.

A pipeline takes most parameters on trust, and what it raises of a wrong one looks like a bug, or like a bad row. So a
row that fails in a way nobody has translated is asked once more without them: if it is answered then, it is their
fault.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from warmlane.errors import InvalidParams, JobCancelled, JobExpired, SchemaError, WarmlaneError
from warmlane.jobs import PredictJob
from warmlane_workers.context import JobContext
from warmlane_workers.engine.batcher import Row
from warmlane_workers.engine.conversations import Talks
from warmlane_workers.engine.reading import effective, read_row
from warmlane_workers.engine.rows import OnError, Prepare, Rows, fail_job
from warmlane_workers.engine.telling import Silent, unheard
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.pipelines.memory import is_exhausted
from warmlane_workers.tasks.base import Plan, Prepared, Task, tried
from warmlane_workers.tasks.failures import Failed
from warmlane_workers.tasks.params import of_config

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asking:
    """A job, beside the task that answers it.

    Attributes:
        loaded: the `model_config` of the load that warmed the model.
        submit: queues rows for the device, to be run as a plan says.
        talks: reads the conversations that rows name; None where rows name none.
    """

    job: PredictJob
    artifact: Artifact
    task: Task
    loaded: Mapping[str, Any]
    context: JobContext
    submit: Callable[[Plan, list[Row]], None]
    talks: Callable[[], Talks] | None = field(default=None, kw_only=True)

    def plan(self, params: Mapping[str, Any] | None = None) -> Plan:
        """The plan of the job's parameters over those of its model, or of other parameters alone.

        Raises:
            InvalidParams: names one that is wrong, and says whether it is the job's own.
        """
        if self.job.output == "raw":
            return self.task.plan(self.job.params)
        try:
            return self.task.plan(self._effective(self.job.params) if params is None else params)
        except InvalidParams as exc:
            name = str(exc.details.get("field")).removeprefix("params.")
            if self.job.params and (name in self.job.params or name not in self._effective({})):
                raise
            raise of_config(exc) from exc

    def rows(self, rows: Sequence[Any], plan: Plan, on_error: OnError, told: Silent) -> Rows:
        """Rows of the job on their way."""
        return Rows(rows, lambda outputs: self.task.finish(outputs, plan), on_error, self.context, told)

    def preparing(self, plan: Plan, talks: Talks | None) -> Prepare:
        """How the job's rows are made ready for the device."""
        raw = self.job.output == "raw"

        def read(row: Any) -> Any:
            taken = row if raw else read_row(self.artifact, self.job, row)
            return talks.read(taken) if talks else taken

        def prepare(rows: Sequence[Any]) -> list[list[Prepared] | Exception]:
            taken = [tried(read, row) for row in rows]
            good = [row for row in taken if not isinstance(row, Exception)]
            prepared = iter(self.task.prepare_all(good, plan))
            return [row if isinstance(row, Exception) else next(prepared) for row in taken]

        return prepare

    def judged(self, rows: Sequence[Any], on_error: OnError) -> OnError:
        """The same policy, of errors that say whose fault they are."""
        if self.job.output == "raw":
            return on_error

        def judge(index: int, error: Exception) -> Failed:
            return on_error(index, (self._blamed(rows[index], error) if unexplained(error) else None) or error)

        return judge

    def _effective(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return effective(self.artifact, params, self.loaded)

    def _blamed(self, row: Any, error: Exception) -> InvalidParams | None:
        """What to say of the parameters without which a row is answered; None where they change nothing."""
        for params, blame in self._fewer():
            if self._answered(row, params):
                logger.info("params fail rows: %s", type(error).__name__, extra={"action": "params_blamed"})
                blamed = blame(type(error.__cause__ or error).__name__)
                blamed.__cause__ = error
                return blamed
        return None

    def _fewer(self) -> Iterator[tuple[dict[str, Any], Callable[[str], InvalidParams]]]:
        """Parameters to try: without the job's own, then without its model's; and whose fault it is if one succeeds."""
        saved = self._effective({})
        if self.job.params:
            yield saved, lambda cause: _guilty("params", self.job.params, cause)
        if saved:
            yield {}, lambda cause: _guilty("model_config", saved, cause)

    def _answered(self, row: Any, params: Mapping[str, Any]) -> bool:
        """Whether a row is answered by itself with other parameters.

        Raises:
            JobCancelled, JobExpired: the job is over.
        """
        try:
            plan = self.plan(params)
            talks = self.talks() if self.talks else None
            alone = self.rows([row], plan, fail_job(True, self.context), unheard(self.task))
            answer = alone.run(self.preparing(plan, talks), lambda parts: self.submit(plan, parts))
            self.task.assemble(answer, True, self.job.output)
        except (JobCancelled, JobExpired):
            raise
        except Exception as exc:  # noqa: BLE001 - the first error is the one that counts
            logger.info("nor without params: %s", type(exc).__name__, extra={"action": "params_not_blamed"})
            return False
        return True


def unexplained(error: Exception) -> bool:
    """Whether nobody has said what an error means: it is foreign, or known by the type of its cause alone."""
    if isinstance(error, WarmlaneError):
        return isinstance(error, SchemaError) and "cause" in error.details
    return not is_exhausted(error)


def _guilty(what: str, params: Mapping[str, Any], cause: str) -> InvalidParams:
    """What to say of parameters that a row is not answered with.

    Args:
        what: "params" of a job, or "model_config" of a save or a load.
    """
    names = sorted(params)
    named = f"{what}.{names[0]}" if len(names) == 1 else what
    whose = " of the model's configuration" if what == "model_config" else ""
    return InvalidParams(
        f"{named}: a row is answered without {', '.join(names)}{whose}, and not with ({cause}); "
        "check the types and ranges, or leave out one after the other",
        field=named,
        params=names,
        cause=cause,
    )
