"""The flows of those who watch: a job's changes one by one, and the fleet at a moment. As `_wire`, without any I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from warmlane._slots import Pause, Slot
from warmlane._wire import RECHECK_S, Flow, not_found, until_late
from warmlane.errors import StreamInterrupted
from warmlane.fleet import FleetInfo, ReadQueues
from warmlane.keys import QUEUES
from warmlane.registry import ReadWorkers
from warmlane.results import JobEvent, JobStatus
from warmlane.stream import Followed, Given, ReadText


@dataclass
class Watching:
    """One who watches a job.

    Attributes:
        slot: woken when there is more.
        after: so many characters of the text are known already.
        seen: what was last told of the record.
        ended: all has been told.
    """

    given: Given
    slot: Slot
    after: int
    broken: bool = False
    seen: Any = None
    ended: bool = False


def news(watching: Watching, inbox: str) -> Flow[list[JobEvent]]:
    """What is new of a job, as soon as there is something; nothing behind its end.

    Raises:
        JobNotFound, ServerUnreachable.
    """
    while not watching.ended:
        watching.slot.wake.clear()
        found = yield ReadText(watching.given.job_id, watching.given.cursor, inbox, changes=True)
        if found is None:
            raise not_found(watching.given.job_id)
        events = [*_changed(watching, found.status), *_grown(watching, found)]
        if found.status.state.final:
            watching.ended = True
            events.append(JobEvent("end", found.status))
        if events:
            return events
        yield Pause(watching.slot, min(RECHECK_S, until_late(found.status)))
    return []


def _changed(watching: Watching, status: JobStatus) -> list[JobEvent]:
    now = (status.state, status.progress, len(status.attempts), status.cancel_requested)
    if status.state.final or now == watching.seen:
        return []
    watching.seen = now
    return [JobEvent("status", status)]


def _grown(watching: Watching, found: Followed) -> list[JobEvent]:
    """What the text has grown by. Where it goes on otherwise it is told no further: the result will have it."""
    if watching.broken:
        return []
    try:
        watching.given.take(found)
    except StreamInterrupted:
        watching.broken = True
        return [JobEvent("interrupted", found.status)]
    text = watching.given.text[watching.after :]
    at, watching.after = watching.after, max(watching.after, len(watching.given.text))
    return [JobEvent("text", found.status, at, text)] if text else []


def fleet() -> Flow[FleetInfo]:
    """What waits, who lives, what is dead."""
    workers = yield ReadWorkers()
    names = sorted({*QUEUES, *(queue for worker in workers for queue in worker.queues)})
    queues, dead = yield ReadQueues(tuple(names))
    return FleetInfo(queues, tuple(sorted(workers, key=lambda worker: worker.id)), dead)
