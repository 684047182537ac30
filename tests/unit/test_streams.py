"""A text in pieces: what a reader makes of them, and what is held back of a text that goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from warmlane import Client, State, Table
from warmlane._slots import Slots
from warmlane.cli import main
from warmlane.errors import CodecError, DeviceError, InternalError, InvalidInput, JobCancelled, StreamInterrupted
from warmlane.jobs import PredictJob, new_id
from warmlane.records import Outcome, text_event
from warmlane.stream import Followed, Given, Piece
from warmlane.testing import FakeLane

JOB_ID = new_id()


@pytest.fixture
def lane() -> FakeLane:
    lane = FakeLane()
    lane.answer("chat", lambda inputs, params: iter(["One ", "and ", "two."]))
    return lane


@pytest.fixture
def client(lane: FakeLane) -> Client:
    return lane.client()


def read(given: Given, *pieces: Piece) -> str:
    found: Any = Followed(None, True, True, "1-0", pieces)  # type: ignore[arg-type]  # no piece asks for the record
    return given.take(found)


# -- one reader ------------------------------------------------------------------------------------------------------


def test_pieces_go_on_from_each_other() -> None:
    """What is new is given once, and the last piece makes the text whole."""
    given = Given(JOB_ID)
    assert read(given, Piece(0, "One "), Piece(4, "and ")) == "One and "
    assert not given.whole
    assert read(given, Piece(8, "two.", last=True)) == "two."
    assert given.whole


def test_a_piece_that_was_written_twice_is_given_once() -> None:
    """A retry of a call whose reply was lost writes a piece again, with more behind it."""
    given = Given(JOB_ID)
    read(given, Piece(0, "One "))
    assert read(given, Piece(0, "One "), Piece(0, "One and ")) == "and "


def test_an_attempt_that_says_the_same_goes_on() -> None:
    """A text that is begun again is skipped up to where the first attempt came."""
    given = Given(JOB_ID)
    read(given, Piece(0, "One and "))
    assert read(given, Piece(0, "One "), Piece(4, "and two.", last=True)) == "two."
    assert given.whole


@pytest.mark.parametrize("piece", [Piece(0, "Two"), Piece(4, "or"), Piece(9, "too far")])
def test_an_attempt_that_says_something_else_is_an_error(piece: Piece) -> None:
    """What was given cannot be taken back, and a gap cannot be filled; the error names the result."""
    given = Given(JOB_ID)
    read(given, Piece(0, "One and "))
    with pytest.raises(StreamInterrupted, match="result"):
        read(given, piece)


def test_a_text_that_ends_before_what_was_given_is_not_whole() -> None:
    """The second attempt's answer is shorter than what was given of the first."""
    given = Given(JOB_ID)
    read(given, Piece(0, "One and "))
    assert read(given, Piece(0, "One", last=True)) == ""
    assert not given.whole


def test_a_frame_that_is_no_piece_is_refused() -> None:
    """Another body than a piece's is a codec error, as in every frame."""
    from warmlane import codec

    with pytest.raises(CodecError):
        Piece.unpack(codec.encode("piece", ["One"]))


# -- both clients, in a lane of an application's tests -----------------------------------------------------------------


def test_a_reply_of_pieces_is_told_piece_by_piece(client: Client) -> None:
    """Iterating the handle gives the pieces; the result is the whole text; a second reader begins at the beginning."""
    job = client.predict("chat", "Count!", stream=True)
    assert "".join(job) == "One and two."
    assert job.result(timeout=1) == ["One and two."]
    assert "".join(client.job(job.id)) == "One and two."


def test_an_event_loop_follows_a_text(lane: FakeLane) -> None:
    """`async for` over the handle gives the pieces, also without an `await` before."""

    async def follow() -> str:
        async with lane.async_client() as client:
            return "".join([piece async for piece in client.predict("chat", "Count!", stream=True)])

    assert asyncio.run(follow()) == "One and two."


def test_a_reader_that_came_first_is_woken(lane: FakeLane) -> None:
    """A text that does not yet begin is waited for, and comes when the lane is released."""

    async def follow() -> list[str]:
        async with lane.async_client() as client:
            lane.hold()
            job = await client.predict("chat", "Count!", stream=True)
            pieces = asyncio.ensure_future(_gather(job))
            await asyncio.sleep(0)
            lane.release()
            return await pieces

    assert "".join(asyncio.run(asyncio.wait_for(follow(), 5))) == "One and two."


async def _gather(job: Any) -> list[str]:
    return [piece async for piece in job]


def test_pieces_come_before_the_error_that_ends_them(lane: FakeLane, client: Client) -> None:
    """A job that fails in the middle gives what there is, then raises its error."""

    def broken(inputs: Any, params: Any) -> Iterator[str]:
        yield "One "
        raise DeviceError("the device is gone")

    lane.answer("chat", broken)
    pieces = iter(client.predict("chat", "Count!", stream=True))
    assert next(pieces) == "One "
    with pytest.raises(DeviceError):
        next(pieces)


def test_a_cancelled_job_ends_its_text(lane: FakeLane, client: Client) -> None:
    """Whoever follows a job that is cancelled while it waits is told so."""
    lane.hold()
    job = client.predict("chat", "Count!", stream=True)
    job.cancel()
    with pytest.raises(JobCancelled):
        list(job)


def test_a_job_that_tells_no_text_says_how_to_ask_for_it(client: Client) -> None:
    """Iterating an ordinary job names `stream=True` and `result()`."""
    with pytest.raises(InvalidInput, match=r"stream=True.*result"):
        list(client.predict("chat", "Count!"))


def test_a_text_that_does_not_come_in_time_is_a_time_out(lane: FakeLane, client: Client) -> None:
    """`stream(timeout)` raises; the job goes on."""
    lane.hold()
    with pytest.raises(TimeoutError):
        list(client.predict("chat", "Count!", stream=True).stream(timeout=0))


def test_a_reply_without_pieces_is_no_text(lane: FakeLane, client: Client) -> None:
    """A reply that is a value fails a job that wants a text, and says what to return."""
    lane.answer("chat", ["One"])
    with pytest.raises(InternalError, match="iterator"):
        client.predict("chat", "Count!", stream=True).result(timeout=1)


# -- the request -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"inputs": ["a"]}, "inputs"),
        ({"inputs": ("a", "b")}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": Table({"text": ["a"]})}, "inputs"),
        ({"inputs": "a", "output": "raw"}, "output"),
        ({"inputs": "a", "on_error": "row"}, "on_error"),
    ],
)
def test_a_job_that_can_tell_no_text_is_not_made(fields: dict[str, Any], field: str) -> None:
    """Lists, tables, arrays and forgiven rows are refused before anything is enqueued."""
    with pytest.raises(InvalidInput, match="stream") as refused:
        PredictJob(model="m", stream=True, **fields)
    assert refused.value.details["field"] == field


def test_the_messages_of_a_chat_are_one_row() -> None:
    """A list of messages is a conversation, and not a list of rows."""
    assert PredictJob(model="m", inputs=[{"role": "user", "content": "Hi!"}], stream=True).stream


def test_news_of_a_text_wake_only_those_who_follow_it() -> None:
    """Whoever waits for the result is not woken by each piece; an outcome wakes everybody."""
    slots = Slots(threading.Event)
    waiting = slots.open(JOB_ID)
    following = slots.follow(waiting)
    slots.deliver(text_event(JOB_ID))
    assert (waiting.wake.is_set(), following.wake.is_set()) == (False, True)
    following.wake.clear()
    slots.deliver(Outcome(State.SUCCEEDED).event(JOB_ID))
    assert (waiting.wake.is_set(), following.wake.is_set()) == (True, True)


# -- the command line ------------------------------------------------------------------------------------------------


def test_a_text_is_printed_as_it_comes(lane: FakeLane, capsys: pytest.CaptureFixture[str]) -> None:
    """`--stream` prints the pieces and a line's end, and nothing else."""
    assert main(["predict", "chat", "Count!", "--stream"], client_factory=lane.client) == 0
    assert capsys.readouterr() == ("One and two.\n", "")


@pytest.mark.parametrize("arguments", [["a", "b"], [], ["a", "--json"], ["a", "--output", "answers.jsonl"]])
def test_only_one_text_is_printed_as_it_comes(
    lane: FakeLane, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """Several rows, files and JSON are wrong usage."""
    assert main(["predict", "--stream", "chat", *arguments], client_factory=lane.client) == 2
    assert "--stream" in capsys.readouterr().err
