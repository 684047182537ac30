"""The command `warmlane`: one small module a group of commands, one place where errors become exit codes.

    warmlane save NAME SOURCE · load MODEL · predict MODEL TEXT · unload MODEL · persist MODEL
    warmlane alias MODEL ALIAS · delete MODEL
    warmlane job ID · cancel ID · models · workers · dead [ls|replay ID|drop ID]
    warmlane worker · gateway · demo

`--json` prints one JSON document on stdout and nothing else there. The exit codes are listed in `warmlane --help` and
in `warmlane.cli._exit`: 0 done, 1 failed, 2 wrong input, 3 not found, 4 time-out, 5 no server, 6 cancelled or expired,
130 Ctrl-C. Knows no Redis and no model; the workers' package is started by name, never imported.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import warmlane
from warmlane.cli import dead, demo, look, manage, predict, serve
from warmlane.cli._args import Command
from warmlane.cli._exit import HELP, Exit, code_of, complain
from warmlane.cli._shell import ClientFactory, Shell, connect, debugging
from warmlane.errors import InternalError, WarmlaneError
from warmlane.settings import Settings

#: So many ids are named on Ctrl-C; more are counted.
_NAMED_IDS = 3


def main(argv: Sequence[str] | None = None, client_factory: ClientFactory = connect) -> int:
    """Run the command and return its exit code.

    Args:
        client_factory: makes the client from the settings; for tests, e.g. `lambda settings: lane.client(settings)`.

    Raises:
        SystemExit: argparse's, with code 2 for wrong usage and 0 after `--help` and `--version`.
    """
    args = _parser().parse_args(argv)
    shell = Shell(Settings(), json=args.json, connect=client_factory)
    try:
        shell.settings = Settings.from_env(redis_url=args.redis_url, namespace=args.namespace)
        try:
            code: int = args.run(args, shell)
            sys.stdout.flush()
        finally:
            shell.close()
    except KeyboardInterrupt:
        return _interrupted(shell)
    except BrokenPipeError:  # whoever read our output has gone, e.g. `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except Exception as exc:  # noqa: BLE001 - the last door: a traceback is for those who ask for it
        return _failed(exc, shell)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="warmlane",
        description="Keeps Hugging Face Transformers models warm behind a queue.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"warmlane {warmlane.__version__}")
    _add_globals(parser, redis_url=None, namespace=None, json=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Command)
    for group in (serve, manage, predict, look, dead, demo):
        group.add(commands)
    for name, command in commands.choices.items():
        if name != "worker":  # whose arguments are the worker's
            unset = argparse.SUPPRESS  # so that one given before the command is not overwritten by a default behind it
            _add_globals(command, redis_url=unset, namespace=unset, json=unset)
    return parser


def _add_globals(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    group = parser.add_argument_group("everywhere")
    group.add_argument("--redis-url", metavar="URL", default=defaults["redis_url"],
                       help="default: WARMLANE_REDIS_URL, else the embedded server")  # fmt: skip
    group.add_argument("--namespace", default=defaults["namespace"], help="default: WARMLANE_NAMESPACE, else warmlane")
    group.add_argument("--json", action="store_true", default=defaults["json"], help="one JSON document on stdout")


def _failed(error: Exception, shell: Shell) -> int:
    if debugging():
        traceback.print_exception(error)
    if not isinstance(error, WarmlaneError):
        text = f"{type(error).__name__}: {error}; WARMLANE_DEBUG=1 shows where"
        error = InternalError(text)
    complain(error.code, error.message, error.details, as_json=shell.json)
    return code_of(error)


def _interrupted(shell: Shell) -> int:
    ids = shell.waiting
    if not ids:
        message = "stopped"
    elif len(ids) == 1:
        message = f"job {ids[0]} goes on; `warmlane job {ids[0]}` tells how"
    else:
        more = f" and {len(ids) - _NAMED_IDS} more" if len(ids) > _NAMED_IDS else ""
        message = f"{len(ids)} jobs go on: {', '.join(ids[:_NAMED_IDS])}{more}"
    complain("interrupted", message, {"jobs": ids}, as_json=shell.json)
    return Exit.INTERRUPTED
