"""A row in the shape of OpenAI's API as generation settings. Knows names and ranges, no model.

Whatever a request asks for is answered or refused by its name; nothing of it is ignored in silence. Null is absent.
Source: the requests of OpenAI's API, in the columns that MLflow gives an `llm/v1` task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from warmlane.errors import SchemaError
from warmlane_workers.tasks.params import MOST_TOKENS

#: The most answers to one request, as in OpenAI's API.
MAX_ANSWERS = 128
#: The most texts that end an answer: each is looked for after each token.
MAX_STOPS = 16

#: What clients of OpenAI's API send along and no answer depends on: the job names the model.
IDENTITY = frozenset({"model", "user"})
#: Another name of the API for one of those below.
_ALIAS = ("max_completion_tokens", "max_tokens")
#: What a request names, and none of these tasks does, with the values that ask for nothing.
_UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "stream": (False,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "tools": ([],),
    "custom_inputs": ({},),
    "seed": (),
}
#: Why, where it is not plain, and what to do.
_REASONS = {"seed": "requests share batches, and so their random numbers; for equal answers, `temperature` 0"}


@dataclass(frozen=True, slots=True)
class Request:
    """A row, read.

    Attributes:
        content: the prompt, or the messages.
        settings: those of `generate`.
        stops: texts that end an answer and are no part of it.
        n: how many answers.
    """

    content: Any
    settings: Mapping[str, Any]
    stops: tuple[str, ...]
    n: int


def _whole(least: int, most: int | None = None) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value >= least and (most is None or value <= most)


def _real(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _stops(value: Any) -> bool:
    texts = [value] if isinstance(value, str) else value
    return isinstance(texts, list) and len(texts) <= MAX_STOPS and all(isinstance(text, str) and text for text in texts)


#: What a request may say of its answer, with a check and what it has to be.
_CHECKS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "max_tokens": (_whole(1, MOST_TOKENS), f"a whole number from 1 to {MOST_TOKENS}"),
    "n": (_whole(1, MAX_ANSWERS), f"a whole number from 1 to {MAX_ANSWERS}"),
    "temperature": (lambda value: _real(value) and value >= 0, "a number from 0"),
    "top_p": (lambda value: _real(value) and 0 < value <= 1, "a number above 0, up to 1"),
    "top_k": (_whole(0), "a whole number from 0"),
    "stop": (_stops, f"a str that is not empty, or a list of up to {MAX_STOPS} of them"),
}
#: The names that a job's parameters may have beside those of a generation configuration.
NAMES = frozenset({"max_tokens", "n", "stop"})


def read(row: Any, content: str, params: Mapping[str, Any]) -> Request:
    """A request over the parameters of its job.

    Args:
        content: the key of what is to be answered.
        params: names of OpenAI's API, or of a generation configuration.

    Raises:
        SchemaError: not a request; names the key.
    """
    if not isinstance(row, dict) or row.get(content) is None:
        raise SchemaError(f"a row is a dict with the key {content!r}", field=f"inputs.{content}")
    given = asked({name: value for name, value in row.items() if value is not None and name != content})
    _check(given, content)
    return _request(row[content], given, params)


def asked(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a request asks for, by one name each.

    Raises:
        SchemaError: a name of the model or of the user that is no str; a limit under both of its names.
    """
    for name in IDENTITY & set(given):
        if not isinstance(given[name], str):
            raise SchemaError(f"inputs.{name}: a str", field=f"inputs.{name}")
    found = {name: value for name, value in given.items() if name not in IDENTITY}
    other, name = _ALIAS
    if other in found:
        if name in found:
            raise SchemaError(f"inputs.{other}: the same as {name}; give one of them", field=f"inputs.{other}")
        found[name] = found.pop(other)
    return found


def defaults(params: Mapping[str, Any]) -> Request:
    """What the parameters of a job alone ask for.

    Raises:
        SchemaError: one is out of its range.
    """
    own = {name: value for name, value in params.items() if name in NAMES and value is not None}
    _check(own, "params")
    return _request(None, {}, params)


def _request(content: Any, given: Mapping[str, Any], params: Mapping[str, Any]) -> Request:
    # Each is read by itself, so that a request's `max_tokens` beats a job's `max_new_tokens`.
    settings = _settings(params) | _settings(given)
    if settings.get("do_sample") is False:
        for name in ("temperature", "top_p", "top_k"):
            settings.pop(name, None)
    stops, n = settings.pop("stop", ()), settings.pop("n", 1)
    if "max_tokens" in given:
        settings.pop("max_length", None)  # it has no effect then
    return Request(content, settings, (stops,) if isinstance(stops, str) else tuple(stops), n)


def _check(given: Mapping[str, Any], content: str) -> None:
    for name, value in given.items():
        if name in _UNSUPPORTED:
            if value not in _UNSUPPORTED[name]:
                says = _REASONS.get(name, "not supported")
                raise SchemaError(f"inputs.{name}: {says}; leave it out", field=f"inputs.{name}")
        elif name not in _CHECKS:
            allowed = sorted({content, *_CHECKS, *IDENTITY, _ALIAS[0]})
            raise SchemaError(
                f"inputs: a request has no {str(name)[:40]!r}; it has {', '.join(allowed)}",
                field=f"inputs.{str(name)[:40]}",
                allowed=allowed,
            )
        elif not _CHECKS[name][0](value):
            raise SchemaError(f"inputs.{name}: {_CHECKS[name][1]}", field=f"inputs.{name}")


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The names of OpenAI's API as those of a generation configuration; `stop` and `n` as they are."""
    found = {name: value for name, value in given.items() if name not in _UNSUPPORTED and value is not None}
    if "max_tokens" in found:
        found["max_new_tokens"] = found.pop("max_tokens")
    if "stop_strings" in found:
        found["stop"] = found.pop("stop_strings")
    if found.get("temperature") == 0:
        found |= {"do_sample": False}
    elif not {"temperature", "top_p", "top_k"}.isdisjoint(found):
        found = {"do_sample": True} | found
    return found
