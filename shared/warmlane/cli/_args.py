"""Types of arguments that several commands take. A value that is none ends in argparse's usage error."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from warmlane.jobs import AS_EVER, PRIORITIES, JobOptions


class Command(argparse.ArgumentParser):
    """A command's parser, of unabbreviated options: an abbreviation would mean another option in another release.

    Attributes:
        intermixed: options may stand between the arguments: `predict MODEL --stream TEXT`.
    """

    intermixed = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if not self.intermixed:
            return super().parse_known_args(args, namespace)
        self.intermixed = False  # argparse's own way calls this method twice
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.intermixed = True


def seconds(text: str) -> float:
    value = float(text)
    if not (value >= 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError("a time is a number of seconds, not negative")
    return value


def count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


def add_handling(parser: argparse.ArgumentParser, pays: str) -> None:
    """Add the flags that say how a job is handled; `handling` reads them.

    Args:
        pays: help of `--deadline`: what is given up.
    """
    parser.add_argument("--priority", choices=PRIORITIES, default=AS_EVER.priority, help="default: %(default)s")
    parser.add_argument("--pool", default=AS_EVER.pool, metavar="NAME", help="the workers' pool; default: %(default)s")
    parser.add_argument("--deadline", type=seconds, metavar="S", help=f"give {pays} up that waits and runs so long")


def handling(args: argparse.Namespace) -> JobOptions:
    """The options of a request, as `add_handling` has them."""
    return {"priority": args.priority, "pool": args.pool, "deadline": args.deadline}


def file_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as exc:
        raise argparse.ArgumentTypeError(f"not a readable text file: {path}") from exc


def json_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise argparse.ArgumentTypeError("not JSON") from None


def json_object(text: str) -> dict[str, Any]:
    value = json_value(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('expected a JSON object, e.g. {"top_k": 2}')
    return value
