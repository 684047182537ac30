"""The command `dead`: the jobs that failed for no fault of their caller, listed, enqueued again, dropped."""

from __future__ import annotations

import argparse
import dataclasses
from datetime import datetime
from typing import Any

from warmlane.cli import _show
from warmlane.cli._exit import Exit
from warmlane.cli._shell import Shell
from warmlane.errors import InvalidInput
from warmlane.results import DeadLetter


def add(commands: Any) -> None:
    """Add the parser."""
    parser = commands.add_parser("dead", help="jobs that failed as poison or by a bug: ls, replay ID, drop ID")
    parser.add_argument(
        "action",
        nargs="?",
        choices=("ls", "replay", "drop"),
        default="ls",
        help="list them (the default), enqueue one again as a new job, forget one",
    )
    parser.add_argument("id", nargs="?", help="which one to replay or drop")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace, shell: Shell) -> int:
    if (args.id is None) != (args.action == "ls"):
        raise InvalidInput("dead: `replay` and `drop` take one ID, `ls` takes none", field="id")
    if args.action == "replay":
        job = shell.client.replay(args.id)
        shell.answer({"id": job.id, "replay_of": args.id}, lambda: print(job.id))
    elif args.action == "drop":
        shell.client.drop(args.id)
        shell.answer({"id": args.id}, lambda: print("dropped"))
    else:
        letters = shell.client.dead()
        shell.answer([dataclasses.asdict(letter) for letter in letters], lambda: _print(letters))
    return Exit.OK


def _print(letters: list[DeadLetter]) -> None:
    if not letters:
        print("no dead letters")
        return
    rows = [
        (
            letter.id,
            letter.kind,
            letter.model,
            letter.code,
            datetime.fromtimestamp(letter.time).astimezone().isoformat(sep=" ", timespec="seconds"),
            _show.size(letter.bytes),
        )
        for letter in letters
    ]
    _show.console().print(_show.grid(("job", "kind", "model", "error", "since", "size"), rows))
