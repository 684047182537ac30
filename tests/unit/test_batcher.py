"""How rows become batches: turns, threads, company. No models."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmlane.budget import LIGHT, BatchBudget
from warmlane_workers.engine.batcher import COMPANY_S, PROMOTION_S, RANKS, Batcher, Lane, Row, run_isolated
from warmlane_workers.observer import Batch

#: Longer than any step here takes; a test that waits so long has failed.
LIMIT_S = 10


class Gate:
    """A run that waits at its first batch until it is opened, and records all batches and their threads."""

    def __init__(self, answer: Callable[[list[Any]], Sequence[Any]] = lambda payloads: payloads) -> None:
        self.batches: list[list[Any]] = []
        self.threads: list[str] = []
        self.entered = threading.Event()
        self._open = threading.Event()
        self._answer = answer

    def open(self) -> None:
        self._open.set()

    def __call__(self, payloads: list[Any]) -> Sequence[Any]:
        self.batches.append(payloads)
        self.threads.append(threading.current_thread().name)
        self.entered.set()
        assert self._open.wait(LIMIT_S)
        return self._answer(payloads)


@contextmanager
def running(threads: int = 1, **options: Any) -> Iterator[Batcher]:
    batcher = Batcher(threads, **options)
    batcher.start()
    yield batcher
    batcher.stop()


def rows(*payloads: Any, length: int = 4) -> list[Row]:
    return [Row(payload, length) for payload in payloads]


def results(waiting: Sequence[Row]) -> list[Any]:
    return [row.future.result(LIMIT_S) for row in waiting]


@contextmanager
def device_busy(gate: Gate, threads: int = 1) -> Iterator[Batcher]:
    """A batcher whose first thread stands at the gate with one row; leave the block to open it."""
    with running(threads) as batcher:
        first = rows("first")
        batcher.submit(Lane("first", gate, BatchBudget(512)), first)
        assert gate.entered.wait(LIMIT_S)
        try:
            yield batcher
        finally:
            gate.open()
        results(first)


def test_rows_of_several_jobs_share_a_batch() -> None:
    """What waits in one lane when the device gets free runs together, each row with its own output."""
    gate = Gate(lambda payloads: [payload.upper() for payload in payloads])
    lane = Lane("lane", gate, BatchBudget(512))
    with running() as batcher:
        first, second, third = rows("a"), rows("b", "c"), rows("d")
        batcher.submit(lane, first)
        assert gate.entered.wait(LIMIT_S)
        batcher.submit(lane, second)
        batcher.submit(lane, third)
        gate.open()
        assert results(second + third) == ["B", "C", "D"]
    assert gate.batches == [["a"], ["b", "c", "d"]]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=30))
def test_the_oldest_row_is_in_every_batch(lengths: list[int]) -> None:
    """Whatever waits beside it, the row that has waited longest runs next: nothing starves, and all run once."""
    gate = Gate()
    with device_busy(gate) as batcher:
        waiting = [Row(number, length) for number, length in enumerate(lengths)]
        batcher.submit(Lane("lane", gate, BatchBudget(512)), waiting)
    results(waiting)
    left = list(range(len(lengths)))
    for batch in gate.batches[1:]:
        assert left[0] in batch
        left = [number for number in left if number not in batch]
    assert sorted(number for batch in gate.batches[1:] for number in batch) == list(range(len(lengths)))


def test_a_long_row_does_not_starve_among_short_ones_that_keep_coming() -> None:
    """A stream of short rows, each sent by the batch before it, does not overtake a long row."""
    order: list[str] = []
    last = rows("end")

    def run(payloads: list[str]) -> list[str]:
        order.append(payloads[0])
        if payloads[0] == "short" and len(order) < 20:
            batcher.submit(lane, rows("short"))
        return payloads

    lane = Lane("lane", run, BatchBudget(512))
    gate = Gate()
    with device_busy(gate) as batcher:
        batcher.submit(lane, rows("short"))
        batcher.submit(lane, [Row("long", 400)])
        batcher.submit(Lane("last", run, BatchBudget(512)), last)
    results(last)
    assert order.index("long") <= 2


def test_lanes_take_turns() -> None:
    """A lane with much work goes behind the others after each of its batches."""
    gate = Gate()
    with device_busy(gate) as batcher:
        many, few = rows("a1", "a2", "a3", length=500), rows("b1", "b2", length=500)
        batcher.submit(Lane("a", gate, BatchBudget(512)), many)
        batcher.submit(Lane("b", gate, BatchBudget(512)), few)
    results(many + few)
    assert gate.batches[1:] == [["a1"], ["b1"], ["a2"], ["b2"], ["a3"]]


@pytest.mark.parametrize("hook", ["before_batch", "on_batch"])
def test_what_fails_around_a_batch_does_not_end_its_thread(hook: str) -> None:
    """Rows of a batch whose preparation raises get its error; the next batch runs; answers that are there stay."""

    def raising(*arguments: Any) -> None:
        if not failed:
            failed.append(hook)
            raise RuntimeError("around it")

    failed: list[str] = []
    with running(**{hook: raising}) as batcher:
        first, second = rows("first"), rows("second")
        batcher.submit(Lane("lane", list, BatchBudget(512)), first)
        if hook == "before_batch":
            with pytest.raises(RuntimeError, match="around it"):
                results(first)
        else:
            assert results(first) == ["first"]
        batcher.submit(Lane("lane", list, BatchBudget(512)), second)
        assert results(second) == ["second"]
    assert failed == [hook]


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ranked(priority: str, *payloads: Any) -> list[Row]:
    return [Row(payload, 500, RANKS[priority]) for payload in payloads]


def test_the_high_go_first_in_a_lane_and_between_lanes() -> None:
    """Whatever came before, and whatever lane has its turn, a row of a higher priority runs first."""
    gate = Gate()
    with device_busy(gate) as batcher:
        low, normal, high = ranked("low", "low"), ranked("normal", "n1", "n2"), ranked("high", "h1", "h2")
        other = ranked("high", "other")
        for batch in (low, normal, high):
            batcher.submit(Lane("lane", gate, BatchBudget(512)), batch)
        batcher.submit(Lane("other", gate, BatchBudget(512)), other)
    results(low + normal + high + other)
    assert [batch[0] for batch in gate.batches[1:]] == ["h1", "other", "h2", "n1", "n2", "low"]


def test_a_low_row_that_has_waited_long_is_no_longer_low() -> None:
    """After twice the time of a promotion it stands with the high ones, and before those that came later."""
    gate, clock = Gate(), Clock()
    with running(clock=clock) as batcher:
        first, low = rows("first"), ranked("low", "low")
        batcher.submit(Lane("first", gate, BatchBudget(512)), first)
        assert gate.entered.wait(LIMIT_S)
        batcher.submit(Lane("lane", gate, BatchBudget(512)), low)
        clock.now += 2 * PROMOTION_S
        high = ranked("high", "h1", "h2")
        batcher.submit(Lane("lane", gate, BatchBudget(512)), high)
        gate.open()
        results(first + low + high)
    assert [batch[0] for batch in gate.batches[1:]] == ["low", "h1", "h2"]


def test_the_first_thread_does_all_while_it_is_free() -> None:
    """Helpers leave a lone batch to the first thread, whose operations may use all cores."""
    gate = Gate()
    gate.open()
    alone: list[bool] = []
    with running(3, before_batch=alone.append) as batcher:
        for number in range(20):
            one = rows(number)
            batcher.submit(Lane(number, gate, BatchBudget(512)), one)
            results(one)
    assert set(gate.threads) == {"warmlane-device-0"}
    assert alone[0]


def test_helpers_come_one_by_one_when_those_before_them_are_busy() -> None:
    """The second thread takes a batch when the first is busy, the third when both are; none of them is alone."""
    meet = threading.Barrier(3, timeout=LIMIT_S)
    names: list[str] = []
    alone: list[bool] = []

    def run(payloads: list[Any]) -> list[Any]:
        names.append(threading.current_thread().name)
        meet.wait()  # passes only if three batches run at the same time
        return payloads

    with running(3, before_batch=alone.append) as batcher:
        three = rows(1, 2, 3, length=500)
        batcher.submit(Lane("lane", run, BatchBudget(512)), three)
        results(three)
    assert sorted(names) == [f"warmlane-device-{number}" for number in range(3)]
    assert not any(alone)


# -- what goes wrong -------------------------------------------------------------------------------------------------


class BadRow(Exception):
    pass


def fails_on_bad(calls: list[int]) -> Callable[[list[str]], list[str]]:
    def run(payloads: list[str]) -> list[str]:
        calls.append(len(payloads))
        if "bad" in payloads:
            raise BadRow
        return payloads

    return run


@pytest.mark.parametrize("place", range(8))
def test_a_bad_row_fails_alone(place: int) -> None:
    """Halving finds the row that fails a batch of eight within seven runs; its neighbours get their outputs."""
    payloads = [f"row {number}" for number in range(8)]
    payloads[place] = "bad"
    batch, calls = rows(*payloads), list[int]()
    run_isolated(fails_on_bad(calls), batch)
    for row in batch:
        if row.payload == "bad":
            assert isinstance(row.future.exception(0), BadRow)
        else:
            assert row.future.result(0) == row.payload
    assert len(calls) == 7


def test_the_device_goes_on_after_a_failure() -> None:
    """The thread that met a bad row serves the next batch."""
    with running() as batcher:
        bad, good = rows("bad"), rows("good")
        lane = Lane("lane", fails_on_bad([]), BatchBudget(512))
        batcher.submit(lane, bad)
        assert isinstance(bad[0].future.exception(LIMIT_S), BadRow)
        batcher.submit(lane, good)
        assert results(good) == ["good"]


@pytest.mark.parametrize("answer", [lambda payloads: payloads[:-1], lambda payloads: [*payloads, "extra"]])
def test_a_wrong_number_of_outputs_fails_every_row(answer: Callable[[list[Any]], list[Any]]) -> None:
    """A run that loses or makes up outputs answers nobody: no row gets its neighbour's output."""
    batch = rows("a", "b", "c")
    run_isolated(answer, batch)
    for row in batch:
        assert "outputs" in str(row.future.exception(0))


def test_a_row_whose_caller_gave_up_is_not_run() -> None:
    """A cancelled future costs no place in its batch, and a batch of none is not run at all."""
    gate = Gate()
    with device_busy(gate) as batcher:
        some, none = rows("a", "gone", "b"), rows("gone too")
        batcher.submit(Lane("some", gate, BatchBudget(512)), some)
        batcher.submit(Lane("none", gate, BatchBudget(512)), none)
        assert some[1].future.cancel()
        assert none[0].future.cancel()
    assert [row.future.result(LIMIT_S) for row in some if row.payload != "gone"] == ["a", "b"]
    assert gate.batches[1:] == [["a", "b"]]


def test_a_caller_who_gives_up_during_the_batch_disturbs_nobody() -> None:
    """A future that is cancelled while its row runs leaves its neighbours' outputs in place."""
    gate = Gate()
    with running() as batcher:
        both = rows("gone", "stays")
        batcher.submit(Lane("lane", gate, BatchBudget(512)), both)
        assert gate.entered.wait(LIMIT_S)
        assert both[0].future.cancel()
        gate.open()
        assert both[1].future.result(LIMIT_S) == "stays"


def test_no_rows_are_nothing_to_do() -> None:
    """A job that has nothing for the device does not disturb those that have."""
    with running() as batcher:
        batcher.submit(Lane("lane", list, BatchBudget(512)), [])
        some = rows("a")
        batcher.submit(Lane("lane", list, BatchBudget(512)), some)
        assert results(some) == ["a"]


def test_each_batch_is_told_with_its_rows_its_padding_and_its_times() -> None:
    """A batch that ran, or failed, is told once: rows, tokens, padded tokens, the wait of its oldest row, its time."""
    told: list[Batch] = []
    ticks = iter([10.0, 13.0, 13.0, 14.5])  # the rows come; their batch is taken, begins, ends
    batcher = Batcher(clock=lambda: next(ticks), on_batch=told.append)
    batcher.submit(Lane("lane", list, BatchBudget(512), "sentiment"), [*rows("a", length=10), *rows("b", length=12)])
    batcher.start()
    assert batcher.stop(LIMIT_S)
    assert told == [Batch("sentiment", 2, 22, 24, 3.0, 1.5)]


# -- company ---------------------------------------------------------------------------------------------------------


def company(gate: Gate, name: str = "model", budget: int = 512) -> Lane:
    return Lane(f"lane of {name}", gate, BatchBudget(budget), company=name)


def test_rows_wait_for_those_that_are_being_made_ready() -> None:
    """A free device lets rows meet that come one after the other, as long as more of their company are on their way."""
    gate = Gate()
    gate.open()
    first, second = rows("first"), rows("second")
    with running(clock=Clock()) as batcher, batcher.expecting("model"):
        batcher.submit(company(gate), first)
        batcher.submit(company(gate), second)
        assert not wait([first[0].future], timeout=0.05).done
    assert results(first + second) == ["first", "second"]
    assert gate.batches == [["first", "second"]]


def test_rows_without_company_do_not_wait() -> None:
    """Nothing is on its way, or only rows of another model."""
    gate, clock = Gate(), Clock()
    gate.open()
    with running(clock=clock) as batcher, batcher.expecting("another"):
        alone = rows("alone")
        batcher.submit(company(gate), alone)
        assert results(alone) == ["alone"]


def test_a_full_batch_waits_for_nobody() -> None:
    """Rows that fill the budget run, whoever else is on the way."""
    gate = Gate()
    gate.open()
    with running(clock=Clock()) as batcher, batcher.expecting("model"):
        enough = rows("a", "b", length=10)
        batcher.submit(company(gate, budget=20), enough)
        assert results(enough) == ["a", "b"]


def test_company_is_waited_for_a_moment_only() -> None:
    """When the time is up the rows run, though the others are not there yet."""
    gate, clock = Gate(), Clock()
    gate.open()
    with running(clock=clock) as batcher, batcher.expecting("model"):
        tired = rows("tired")
        batcher.submit(company(gate), tired)
        clock.now += COMPANY_S
        assert results(tired) == ["tired"]


def test_rows_that_wait_for_company_hold_up_no_other_lane() -> None:
    """The device takes what is due meanwhile."""
    gate = Gate()
    gate.open()
    with running(clock=Clock()) as batcher, batcher.expecting("model"):
        waiting, due = rows("waiting"), rows("due")
        batcher.submit(company(gate), waiting)
        batcher.submit(company(gate, "another"), due)
        assert results(due) == ["due"]
        assert not waiting[0].future.done()
    assert results(waiting) == ["waiting"]


def test_a_light_model_has_one_batch_at_a_time() -> None:
    """A second thread, which would only make them smaller, runs another model; then all that waited share one."""
    gate, other = Gate(), Gate()
    other.open()
    light = Lane("light", gate, BatchBudget(512, 512 // LIGHT))
    with running(threads=2) as batcher:
        first, more, heavy = rows("first"), rows("a", "b", length=10), rows("heavy")
        batcher.submit(light, first)
        assert gate.entered.wait(LIMIT_S)
        batcher.submit(light, more[:1])
        batcher.submit(Lane("heavy", other, BatchBudget(512)), heavy)
        batcher.submit(light, more[1:])
        assert results(heavy) == ["heavy"]
        assert len(gate.batches) == 1
        gate.open()
        assert sorted(results(more)) == ["a", "b"]
    assert sorted(map(sorted, gate.batches)) == [["a", "b"], ["first"]]


def test_stop_finishes_what_waits() -> None:
    """All rows that were submitted before a stop get their outputs, over several lanes and threads."""
    gate = Gate()
    batcher = Batcher(2)
    batcher.start()
    batcher.submit(Lane("first", gate, BatchBudget(512)), rows("first"))
    assert gate.entered.wait(LIMIT_S)
    waiting = [row for lane in range(5) for row in rows(*range(10), length=100)]
    for lane in range(5):
        batcher.submit(Lane(lane, gate, BatchBudget(512)), waiting[lane * 10 : lane * 10 + 10])
    stopping = threading.Thread(target=batcher.stop)
    stopping.start()
    gate.open()
    stopping.join(LIMIT_S)
    assert not stopping.is_alive()
    assert not wait([row.future for row in waiting], timeout=0).not_done
