"""The command predict: every row is a job of its own, a window of them in flight, answers in the order of the rows.

A row that cannot be read or that fails becomes `{"row": i, "error": {...}}` and leaves its neighbours alone. What every
further row would meet too (no server, no such model, the time is up) ends the command.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from warmlane.cli import _show
from warmlane.cli._args import add_handling, count, handling, json_object, json_value, seconds
from warmlane.cli._exit import Exit
from warmlane.cli._shell import Shell
from warmlane.cli._wait import bar, wait
from warmlane.client import Job
from warmlane.errors import (
    ConfigurationError,
    InvalidInput,
    ModelNotFound,
    ResultTimeout,
    SchemaError,
    ServerUnreachable,
    WarmlaneError,
)
from warmlane.jobs import ON_ERROR, OUTPUTS

#: What no further row would survive either.
_FATAL = (ConfigurationError, ModelNotFound, ResultTimeout, ServerUnreachable)


def add(commands: Any) -> None:
    """Add the parser."""
    parser = commands.add_parser(
        "predict",
        help="answer rows with a model",
        description="Rows are the TEXTs, else each --row, else the lines of --file (both JSON: a string or an object), "
        "else the lines of stdin (text). Each row is a job of its own. One row on the command line is answered for "
        "people; more rows are answered in JSON lines, in their order: "
        '{"row": 0, "output": ...} or {"row": 0, "error": {...}}. With --json the answer is one JSON list of these.',
    )
    parser.intermixed = True
    parser.add_argument("model", help="name, name/3 or name@alias")
    parser.add_argument("text", nargs="*", help="a row")
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="allow the model's own code; the worker has to allow it too"
    )
    parser.add_argument("--params", type=json_object, default={}, metavar="JSON", help='e.g. {"top_k": 2}')
    parser.add_argument("--dtype", metavar="TYPE", help="answer with the model loaded in this type")
    parser.add_argument("--as", dest="form", choices=OUTPUTS, help="the guide's shapes, the pipeline's, or the model's")
    parser.add_argument("--stream", action="store_true", help="print the answer to one TEXT while it is generated")
    add_handling(parser, "each row")
    parser.add_argument(
        "--row", type=json_value, action="append", metavar="JSON", help='a row that is no text: {"question": …}'
    )
    parser.add_argument("--file", metavar="ROWS.JSONL", help="rows as JSON lines; - is stdin")
    parser.add_argument("--output", metavar="OUT.JSONL", help="write the answers there")
    parser.add_argument(
        "--on-error",
        choices=ON_ERROR,
        default="row",
        help="a row that fails: its error is its answer and the others go on (row), or it ends the command (job); "
        "default: %(default)s",
    )
    parser.add_argument("--timeout", type=seconds, metavar="S", help="for all rows together; default: none")
    parser.add_argument("--window", type=count, default=64, metavar="N", help="jobs in flight; default: %(default)s")
    parser.set_defaults(run=_predict)


def _predict(args: argparse.Namespace, shell: Shell) -> int:
    if sum(map(bool, (args.text, args.row, args.file))) > 1:
        raise InvalidInput("give TEXTs, --row or --file, and only one of them", field="file")
    if args.stream:
        return _stream(args, shell)
    given = args.text or args.row or []
    if len(given) == 1 and not args.output and not shell.json:
        return _one(args, shell, given[0])
    with contextlib.ExitStack() as stack:
        rows, total = _rows(args, stack)
        output = stack.enter_context(_opened(args.output, "w")) if args.output else None
        tick = stack.enter_context(_ticking(shell, total, quiet=output is None and sys.stdout.isatty()))
        answers: list[dict[str, Any]] = []
        done = failed = 0
        for answer in _Flight(args, shell).answers(rows):
            done, failed = done + 1, failed + ("error" in answer)
            if output is None and shell.json:
                answers.append(answer)
            else:
                print(_show.to_json(answer), file=output or sys.stdout, flush=True)
            tick()
    if output is not None:
        summary = {"rows": done, "failed": failed, "output": args.output}
        shell.answer(summary, lambda: print(f"{done} rows, {failed} failed, answers in {args.output}"))
    elif shell.json:
        print(_show.to_json(answers))
    return Exit.FAILED if failed else Exit.OK


def _one(args: argparse.Namespace, shell: Shell, row: Any) -> int:
    try:
        job = _ask(args, shell, row)
        _show.value(wait(shell, job, "predict", args.timeout))
    except SchemaError as exc:
        if not args.text:
            raise
        hint = "a TEXT is a str: give other rows as --row JSON, or as lines of --file"
        raise SchemaError(f"{exc.message}; {hint}", **exc.details) from exc
    if job.status().truncated:
        print("warmlane: the row was too long, and was cut", file=sys.stderr)
    return Exit.OK


def _ask(args: argparse.Namespace, shell: Shell, row: Any) -> Job:
    return shell.client.predict(
        args.model,
        row,
        params=args.params,
        dtype=args.dtype,
        trust_remote_code=args.trust_remote_code,
        output=args.form,
        stream=args.stream,
        **handling(args),
    )


def _stream(args: argparse.Namespace, shell: Shell) -> int:
    if args.file or args.output or shell.json:
        raise InvalidInput("--stream prints text as it comes; leave --file, --output and --json out", field="stream")
    given = args.text or args.row or []
    if len(given) != 1:
        raise InvalidInput(f"--stream answers one TEXT or --row, not {len(given)}", field="stream")
    job = _ask(args, shell, given[0])
    with shell.awaiting(job.id):
        for piece in job.stream(args.timeout):
            print(piece, end="", flush=True)
    print()
    return Exit.OK


class _Flight:
    """The rows under way: enqueued, not yet answered."""

    def __init__(self, args: argparse.Namespace, shell: Shell) -> None:
        self._args = args
        self._shell = shell
        self._flying: deque[Job | WarmlaneError] = deque()
        self._deadline = None if args.timeout is None else time.monotonic() + args.timeout

    def answers(self, rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """One answer a row, in order."""
        numbers = itertools.count()
        for row in rows:
            self._enqueue(row)
            if len(self._flying) == self._args.window:
                yield {"row": next(numbers), **self._land()}
        while self._flying:
            yield {"row": next(numbers), **self._land()}

    def _enqueue(self, row: Any) -> None:
        try:
            if isinstance(row, WarmlaneError):
                raise row
            job = _ask(self._args, self._shell, row)
        except _FATAL:
            raise
        except WarmlaneError as exc:
            self._flying.append(exc)
        else:
            self._flying.append(job)
            self._shell.waiting.append(job.id)

    def _land(self) -> dict[str, Any]:
        """The oldest row's answer."""
        item = self._flying.popleft()
        try:
            if isinstance(item, WarmlaneError):
                raise item
            left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            answer = {"output": _show.plain(item.result(left))}
        except ResultTimeout:
            waiting = list(self._shell.waiting)
            raise ResultTimeout(
                f"not done after {self._args.timeout:g} s; {len(waiting)} jobs go on", jobs=waiting
            ) from None
        except _FATAL:
            raise
        except WarmlaneError as exc:
            if self._args.on_error == "job":
                raise
            answer = {"error": exc.to_dict()}
        if isinstance(item, Job):
            self._shell.waiting.remove(item.id)
        return answer


def _rows(args: argparse.Namespace, stack: contextlib.ExitStack) -> tuple[Iterator[Any], int | None]:
    """The rows, and how many there are where that is known."""
    given = args.text or args.row
    if given:
        return iter(given), len(given)
    if args.file is None:
        return (line.rstrip("\r\n") for line in _lines(sys.stdin, "stdin")), None
    if args.file == "-":
        return (_parsed(number, line) for number, line in enumerate(_lines(sys.stdin, "stdin"), 1)), None
    if args.output and os.path.exists(args.output) and os.path.samefile(args.file, args.output):
        raise InvalidInput("--output would overwrite --file; name another one", field="output")
    source = stack.enter_context(_opened(args.file, "r"))
    total = sum(1 for _ in _lines(source, args.file)) if source.seekable() else None
    if total is not None:
        source.seek(0)
    return (_parsed(number, line) for number, line in enumerate(_lines(source, args.file), 1)), total


def _lines(source: TextIO, name: str) -> Iterator[str]:
    try:
        yield from source
    except UnicodeDecodeError:
        raise InvalidInput(f"{name} is not UTF-8", field="file") from None


def _parsed(number: int, line: str) -> Any:
    """A row from a JSON line; an error in its place when it is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return InvalidInput(f"line {number}: not JSON", line=number)
    if not isinstance(row, str | dict):
        return InvalidInput(f"line {number}: a row is a JSON string or object", line=number)
    return row


def _opened(path: str, mode: str) -> TextIO:
    try:
        return open(path, mode, encoding="utf-8")  # type: ignore[return-value]
    except OSError as exc:
        raise InvalidInput(f"{path}: {exc.strerror}", field="file" if mode == "r" else "output") from exc


@contextlib.contextmanager
def _ticking(shell: Shell, total: int | None, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """A bar on stderr that each call moves on; none where answers scroll past, or where nobody looks."""
    if quiet or not shell.interactive:
        yield lambda: None
        return
    with bar(counting=True) as display:
        row = display.add_task("rows", total=total)
        yield lambda: display.advance(row)
