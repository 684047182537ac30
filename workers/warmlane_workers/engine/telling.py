"""How a job waits for the device: in silence, or telling the text of its answer while it is generated.

Either way it can stop the generation of its rows. The device thread only puts tokens into a queue; the job's own thread
makes text of them and sends it, by the steps that make the text of the result.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import queue
import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from warmlane.errors import JobCancelled, UnsupportedTask, WarmlaneError
from warmlane.jobs import PredictJob
from warmlane.stream import AppendText, Piece
from warmlane_workers.context import JobContext
from warmlane_workers.tasks.base import Plan, Prepared, Task, Watch
from warmlane_workers.tasks.writing import WritingTask, settled

logger = logging.getLogger(__name__)

#: Shortest time between two pieces of a text, in seconds: tokens that come meanwhile share one.
PACE_S = 0.03


class Silent:
    """Waits, and says nothing before the end."""

    def __init__(self, watch: Watch | None = None) -> None:
        self._watch = watch

    def watched(self, parts: list[Prepared]) -> list[Prepared]:
        """A row's parts, so that `stop` reaches their generation."""
        return parts if self._watch is None else [replace(part, watch=self._watch) for part in parts]

    def wait(self, futures: Collection[Future[Any]], timeout_s: float) -> Collection[Future[Any]]:
        """Those that are done, when one has failed, or all are, or the time is up.

        Raises:
            JobCancelled: somebody wants the job cancelled.
        """
        if len(futures) == 1:  # most jobs; to wait for several costs a lock and a queue more
            return _done(next(iter(futures)), timeout_s)
        first = concurrent.futures.FIRST_EXCEPTION
        return concurrent.futures.wait(futures, timeout=timeout_s, return_when=first).done

    def stop(self) -> None:
        """Nobody wants the answers any more, or they are there."""
        if self._watch is not None:
            self._watch.stopped = True

    def end(self, answers: Sequence[Any]) -> None:
        """All rows are answered."""


def _done(future: Future[Any], timeout_s: float) -> Collection[Future[Any]]:
    """The future, if it is done in time."""
    try:
        future.exception(timeout_s)
    except TimeoutError:
        return ()
    return (future,)


class Telling(Silent):
    """Tells the text of the answer to one row.

    Args:
        output: the mode of the job's result.
    """

    def __init__(self, task: WritingTask, plan: Plan, output: str | None, context: JobContext) -> None:
        self._news: queue.SimpleQueue[tuple[int, list[int]] | Future[Any]] = queue.SimpleQueue()
        super().__init__(Watch(tell=lambda place, tokens: self._news.put((place, tokens))))
        self._task = task
        self._plan = plan
        self._output = output
        self._context = context
        self._parts: list[Prepared] = []
        self._tokens: list[int] = []
        self._grown = self._joined = False
        self._sent = ""
        self._next = 0.0  # when the next piece is due

    def watched(self, parts: list[Prepared]) -> list[Prepared]:
        self._task.check_stream(parts, self._plan)
        self._parts = super().watched(parts)
        return self._parts

    def wait(self, futures: Collection[Future[Any]], timeout_s: float) -> Collection[Future[Any]]:
        if not self._joined:
            self._joined = True
            for future in futures:
                future.add_done_callback(self._news.put)
        until = time.monotonic() + timeout_s
        while True:
            done = [future for future in futures if future.done()]
            now = time.monotonic()
            if done or now >= until:
                return done
            if self._grown and now >= self._next:
                self._tell()
            self._hear(min(until, self._next) if self._grown else until)

    def _hear(self, until: float) -> None:
        """Take in the tokens that are there, or the first that come until then."""
        with contextlib.suppress(queue.Empty):
            news = self._news.get(timeout=max(0.0, until - time.monotonic()))
            while not isinstance(news, Future):
                place, tokens = news
                self._tokens[place:] = tokens  # a batch that failed is run again, by halves
                self._grown = True
                news = self._news.get_nowait()

    def _tell(self) -> None:
        self._grown, self._next = False, time.monotonic() + PACE_S
        (part,) = self._parts
        answer = self._task.finish([self._task.so_far(part, list(self._tokens), self._plan)], self._plan)
        text = settled(self._task.words(answer, self._output), self._task.stops(part))
        new = len(text) > len(self._sent) and text.startswith(self._sent)
        if new and self._send(Piece(len(self._sent), text[len(self._sent) :])):
            self._sent = text

    def end(self, answers: Sequence[Any]) -> None:
        (answer,) = answers
        text = self._task.words(answer, self._output)
        at = len(self._sent) if text.startswith(self._sent) else 0  # from its beginning, where it came out otherwise
        self._send(Piece(at, text[at:], last=True))

    def _send(self, piece: Piece) -> bool:
        """Whether a piece arrived. One that did not goes with the next; where the last is lost, the result is not.

        Raises:
            JobCancelled: somebody wants the job cancelled.
        """
        job_id = self._context.job_id
        try:
            stop = self._context.ask(AppendText(job_id, self._context.attempt, piece))
        except WarmlaneError as exc:
            logger.warning("a piece of text is lost: %s", exc, extra={"action": "text_lost", "job_id": job_id})
            return False
        if stop:
            raise JobCancelled(f"job {job_id} was cancelled", id=job_id)
        return True


def listener(job: PredictJob, task: Task, plan: Plan, context: JobContext) -> Silent:
    """How a job waits for its rows.

    Raises:
        UnsupportedTask: it wants to be told a text that there is not.
    """
    if not job.stream:
        return unheard(task)
    if not isinstance(task, WritingTask):
        raise UnsupportedTask("stream: this model's task writes no text piece by piece; leave `stream` out")
    return Telling(task, plan, job.output, context)


def unheard(task: Task) -> Silent:
    """How to wait for rows of whose answer nothing is told before its end."""
    return Silent(Watch() if isinstance(task, WritingTask) else None)
