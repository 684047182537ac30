"""A batch that runs on and on: rows join it and leave it between two tokens. By transformers' continuous batching.

transformers generates in a thread of its own. Another one, here, starts that, hears each token from it, tells those who
listen, and ends both when nobody has come for a while. What fails in there fails no row: they go elsewhere.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.generation.continuous_batching.utils import logger as _theirs

from warmlane_workers.engine.batcher import settle
from warmlane_workers.engine.seats import PAGE, Seat, Seats
from warmlane_workers.observer import Batch

logger = logging.getLogger(__name__)

#: Most rows that are inside at a time.
MOST_ROWS = 64
#: How long a batch stays that nobody joins, in seconds.
LINGER_S = 10.0
#: How often it looks whether it has to end, in seconds.
_WATCH_S = 0.1
#: How long its end may take: the token that is being generated, in seconds.
_END_S = 60.0

# It writes to standard error by itself, and quotes prompts; what there is to say of a failure is said here.
_theirs.setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Extent:
    """How large a running batch may be.

    Attributes:
        tokens: of all rows in it together; its keys and values are allocated at its beginning.
        step: most tokens that are read in one step; longer prompts take several.
    """

    tokens: int
    step: int


class RunningBatch:
    """A batch over one model. Thread-safe.

    Args:
        sampled: whether tokens are drawn, or the likeliest taken.
        before: called in its thread before it begins.
        on_slice: told of a slice of its time whenever a row leaves.
        on_end: called once when it has ended.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        extent: Extent,
        *,
        sampled: bool,
        before: Callable[[], None] = lambda: None,
        on_slice: Callable[[Batch], None] = lambda batch: None,
        on_end: Callable[[RunningBatch], None] = lambda batch: None,
    ) -> None:
        self._name = name
        self._before = before
        self._on_slice = on_slice
        self._on_end = on_end
        self._lock = threading.Lock()
        self._seats = Seats(extent.tokens, MOST_ROWS)
        #: What broke it.
        self.broken: Exception | None = None
        self._over = False  # nobody can join any more
        self._closing = False
        self._quiet_since = self._slice_began = time.monotonic()
        self._manager = twin(model).init_continuous_batching(
            _generation(sampled),
            ContinuousBatchingConfig(
                page_size=PAGE,
                num_blocks=extent.tokens // PAGE,
                max_batch_tokens=extent.step,
                max_requests_per_batch=MOST_ROWS,
                per_request_processors=sampled,
                allow_block_sharing=False,  # whose prompt came before must not show in how long another one takes
                auto_switch_to_flash=False,  # which rounds otherwise than the device threads' forwards
                use_async_batching=False,
                use_cuda_graph=False,
            ),
        )
        self._thread = threading.Thread(target=self._serve, name=f"warmlane-running-{name}", daemon=True)

    @property
    def runs(self) -> bool:
        """Whether a row can join."""
        return not self._over and not self._closing

    def start(self) -> None:
        self._thread.start()

    def join(self, seat: Seat) -> bool:
        """Take a row in, now or when there is room; whether the batch still runs."""
        with self._lock:
            if not self.runs:
                return False
            if not self._seats.inside:
                self._slice_began = time.monotonic()
            self._seats.add(seat)
            self._let_in()
        seat.future.add_done_callback(lambda future: self._given_up(seat, future))
        return True

    def close(self) -> None:
        """Let nobody join any more, and end with those who are in."""
        self._closing = True

    def wait(self, timeout_s: float = _END_S) -> None:
        """Wait for the end; what the batch took of the device's memory is free then."""
        self._thread.join(timeout_s)

    def _let_in(self) -> None:
        while (seat := self._seats.next()) is not None:
            request, sampling = seat.request, seat.request.manner.sampling
            drawn = {}
            if sampling is not None:
                drawn = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
            self._manager.add_request(
                request.ids,
                request_id=seat.id,
                max_new_tokens=request.most,
                streaming=seat.tell is not None or bool(request.criteria),
                eos_token_id=list(request.manner.ends) or -1,
                **drawn,
            )

    def _given_up(self, seat: Seat, future: Future[Any]) -> None:
        """Nobody wants a row's answer any more."""
        if not future.cancelled():
            return
        with self._lock:
            if self._seats.leave(seat):
                self._manager.cancel_request(seat.id)
                self._let_in()

    def _serve(self) -> None:
        try:
            self._before()
            self._manager.start()
            while self._lasts():
                heard = self._manager.get_result(timeout=_WATCH_S)
                if heard is not None:
                    self._hear(heard)
                elif not self._manager.is_running():
                    raise self._manager.background_thread_status.fatal_error or RuntimeError("it has ended")
        except Exception as exc:
            self.broken = exc
            extra = {"action": "running_broken", "model": self._name}
            logger.warning("%s: a running batch broke: %s", self._name, type(exc).__name__, extra=extra, exc_info=exc)
        with self._lock:
            self._over = True
            left = self._seats.clear()
        self._manager.stop(block=True, timeout=_END_S, hard_stop=True)
        self._manager.destroy()
        self._on_end(self)
        for seat in left:
            seat.elsewhere([seat.row])

    def _lasts(self) -> bool:
        with self._lock:
            if not self._seats.empty:
                self._quiet_since = time.monotonic()
                return True
            self._over = self._closing or time.monotonic() - self._quiet_since > LINGER_S
            return not self._over

    def _hear(self, heard: Any) -> None:
        """Take in what transformers says of a request: tokens so far, all tokens, or that it failed."""
        with self._lock:
            seat = self._seats.inside.get(heard.request_id)
        if seat is None:  # it has left meanwhile
            return
        tokens: list[int] = heard.generated_tokens
        if heard.error is None and seat.tell is not None:
            seat.tell(len(tokens) - 1, tokens[-1:])
        stopped = heard.error is None and _stopped(seat, tokens)
        if not stopped and not heard.is_finished():
            return
        self._see_off(seat, len(tokens), heard.lifespan[0], finished=heard.is_finished())
        if heard.error is not None:
            seat.elsewhere([seat.row])
            return
        try:
            output = seat.make(tokens)
        except Exception as exc:  # noqa: BLE001 - it goes to the row's caller
            settle(seat.future, error=exc)
        else:
            settle(seat.future, output=output)

    def _see_off(self, seat: Seat, tokens: int, began: float, *, finished: bool) -> None:
        now = time.monotonic()
        with self._lock:
            rows = len(self._seats.inside)
            self._seats.leave(seat)
            if not finished:
                self._manager.cancel_request(seat.id)
            self._let_in()
            took, self._slice_began = now - self._slice_began, now
        all_tokens = len(seat.request.ids) + tokens
        self._on_slice(Batch(self._name, rows, all_tokens, all_tokens, max(0.0, began - seat.came), took))


def twin(model: Any) -> Any:
    """A model of its own over the same weights. A step sets the model's configuration while it runs, and where another
    forward does so at the same time, what it sets stays: the model would no longer hide what comes after a token."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def _stopped(seat: Seat, tokens: list[int]) -> bool:
    """Whether one of a row's own criteria ends its answer here."""
    if not seat.request.criteria:
        return False
    whole = torch.tensor([seat.request.ids + tokens])  # (1, prompt + answer)
    return any(bool(criterion(whole, None)[0]) for criterion in seat.request.criteria)


def _generation(sampled: bool) -> GenerationConfig:
    """Of a sampled batch each request says its own; but without some value there is nothing that reads it."""
    drawn = {"temperature": 0.5, "top_k": 50, "top_p": 0.5} if sampled else {}
    return GenerationConfig(do_sample=sampled, eos_token_id=-1, **drawn)  # type: ignore[no-untyped-call]
