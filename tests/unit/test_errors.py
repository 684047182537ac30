"""The error tree: drawn once, unique codes, and each error survives the wire."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator

import pytest

from warmlane import codec, errors
from warmlane.errors import BY_CODE, ResultTimeout, SchemaError, WarmlaneError, from_dict
from warmlane.records import encode_error

RETRYABLE = {
    *("server_unreachable", "hub_unavailable", "queue_full", "store_error", "cache_full", "result_timeout"),
    *("conversation_moved", "blob_store_unavailable"),
}


def classes(root: type[WarmlaneError] = WarmlaneError) -> Iterator[type[WarmlaneError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == "warmlane.errors":
            yield from classes(child)


def drawn() -> Iterator[tuple[str, str, bool]]:
    """Of each line of the tree in the docstring: the class, the class above it, whether a retry is said to help."""
    assert errors.__doc__ is not None
    above = ["WarmlaneError"]
    for line in errors.__doc__.splitlines():
        match = re.fullmatch(r"    ((?:│   |    )*)[├└]── (\w+)(.*)", line)
        if match:
            depth = len(match[1]) // 4 + 1
            yield match[2], above[depth - 1], "(retry helps)" in match[3]
            above[depth:] = [match[2]]


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    """The drawing has each class under its base, all of them, in the order of the file."""
    bases = [(cls.__name__, cls.__bases__[0].__name__) for cls in classes() if cls is not WarmlaneError]
    assert [(name, base) for name, base, _ in drawn()] == bases


def test_the_drawing_says_which_errors_a_retry_can_help() -> None:
    """`(retry helps)` stands beside exactly the classes that are `retryable`."""
    assert {name for name, _, retry in drawn() if retry} == {cls.__name__ for cls in classes() if cls.retryable}
    assert {cls.code for cls in classes() if cls.retryable} == RETRYABLE


def test_every_code_is_unique_and_known() -> None:
    """No two classes share a code, and `BY_CODE` has them all."""
    assert len({cls.code for cls in classes()}) == len(list(classes()))
    assert dict(BY_CODE) == {cls.code: cls for cls in classes()}
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", code) for code in BY_CODE)


@pytest.mark.parametrize("cls", list(classes()))
def test_every_error_is_rebuilt_by_its_code(cls: type[WarmlaneError]) -> None:
    """An error that crossed the wire has its class, code, message and details."""
    sent = cls("do this", field="inputs", allowed=["a", "b"], limit=3)
    came = from_dict(codec.decode("error", encode_error(sent)))
    assert type(came) is cls
    assert (came.message, str(came), came.code) == ("do this", "do this", cls.code)
    assert came.details.items() >= sent.details.items()


def test_a_code_of_a_newer_release_keeps_its_message() -> None:
    """An unknown code becomes a plain WarmlaneError with the message, the details and the remote code."""
    came = from_dict({"code": "quota_exceeded", "message": "wait an hour", "details": {"left": 0}})
    assert type(came) is WarmlaneError
    assert str(came) == "wait an hour"
    assert came.details == {"left": 0, "remote_code": "quota_exceeded"}


@pytest.mark.parametrize(
    "data",
    [{}, {"code": None}, {"code": [], "message": 5, "details": "x"}, {"code": "codec", "details": {7: 8}}],
)
def test_an_incomplete_error_is_rebuilt_all_the_same(data: dict[str, object]) -> None:
    """Whatever is missing or ill-typed in an error that arrived, there is an error with a message to raise."""
    came = from_dict(data)
    assert isinstance(came, WarmlaneError)
    assert str(came)
    assert all(isinstance(name, str) for name in came.details)


def test_a_late_result_is_also_pythons_timeout() -> None:
    """`except TimeoutError` catches a ResultTimeout."""
    with pytest.raises(TimeoutError):
        raise ResultTimeout("later")


def test_an_error_goes_through_pickle() -> None:
    """An application's process pool can hand an error on: class, message and details survive pickling."""
    came = pickle.loads(pickle.dumps(SchemaError("inputs: no", field="inputs")))
    assert type(came) is SchemaError
    assert (came.message, came.details) == ("inputs: no", {"field": "inputs"})
