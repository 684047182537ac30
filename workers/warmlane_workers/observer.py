"""What a worker tells of its work while it does it: to metrics and traces. Knows neither; whoever works is given one.

Stages of a job, in order:

    queued      from its acceptance until a worker took it up
    loading     its model comes into memory; only of the job that loads it
    preparing   its rows are made ready for the device
    waiting     for the device: of each batch its oldest row
    forward     on the device: of each batch
    committing  its outcome is written
"""

from __future__ import annotations

from typing import NamedTuple

STAGES = ("queued", "loading", "preparing", "waiting", "forward", "committing")


class Ended(NamedTuple):
    """A job that has its outcome.

    Attributes:
        model: the name that the job gave, without version and alias; there may be no such model.
        outcome: "succeeded", or the code of its error.
        waited_s: its time in the queue; None where it came back from a worker that lost it.
        commit_s: how long its outcome took to be written.
    """

    kind: str
    model: str
    outcome: str
    waited_s: float | None
    commit_s: float


class Batch(NamedTuple):
    """A batch that has run.

    Attributes:
        model: the name of its model; of a batch for several adapters, that of one of them; "" of one that answers
            nobody, by which the size of batches is measured.
        tokens: of its rows together.
        padded: what the device computed: the longest row times the number of rows.
        waited_s: how long its oldest row waited for the device.
        run_s: how long the device had it.
    """

    model: str
    rows: int
    tokens: int
    padded: int
    waited_s: float
    run_s: float


class Observer:
    """Told of what happens, and does nothing. Called on the jobs' time by many threads: be quick, and never raise."""

    def ended(self, job: Ended) -> None:
        """A job has its outcome."""

    def batch(self, batch: Batch) -> None:
        """The device is done with a batch."""

    def began_running(self, model: str, *, steady: bool) -> None:
        """A batch that texts join and leave has begun; or it did not answer as its model does, and there is none."""

    def prepared(self, model: str, seconds: float) -> None:
        """All rows of a job are ready for the device."""

    def wanted(self, model: str, *, warm: bool) -> None:
        """A job asked for a model, which was in memory or was not."""

    def loaded(self, model: str, source: str, seconds: float) -> None:
        """A model came into memory, from the "store" or from the "host" tier."""

    def evicted(self, model: str, to: str) -> None:
        """A model left the device for another, or by its age: to the "host" tier, or to "nowhere"."""


#: For a worker that nobody watches.
UNSEEN = Observer()
