"""Damaged frames, a few thousand on every run and as many as the benchmark on the slow one."""

from __future__ import annotations

import pytest

from benchmarks.fuzz import Escaped, Kind, fuzz
from warmlane import codec


def test_damaged_frames_are_read_or_refused() -> None:
    """Of 6,000 damaged frames of all kinds, each decodes or ends in CodecError or DecodeError, in bounded memory."""
    report = fuzz(6_000, seed=7)
    assert all(0 < report.refused[kind] < sent for kind, sent in report.sent.items())
    assert report.grown_bytes < 32 * 2**20


def test_a_run_repeats_itself() -> None:
    """The same seed gives the same refusals, so that a failure can be looked at again."""
    assert fuzz(500, seed=3).refused == fuzz(500, seed=3).refused


def test_a_run_ends_with_the_frame_whose_reader_raised_something_else() -> None:
    """A KeyError in a reader ends the run; the message names it, the kind and the bytes."""
    sound = codec.encode("event", ["a"])
    fragile = Kind("event", [sound], {sound: "read"}.__getitem__)
    with pytest.raises(Escaped, match=r"KeyError at message 0 of seed 1, kind event: [0-9a-f]+") as caught:
        fuzz(1, seed=1, corpus=[fragile])
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.slow
def test_200_000_damaged_frames_are_read_or_refused() -> None:
    """The benchmark's own run: 200,000 damaged frames raise nothing else, and memory stays where it was."""
    assert fuzz(200_000, seed=1).grown_bytes < 32 * 2**20
