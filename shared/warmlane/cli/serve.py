"""Commands that serve: worker and gateway. A worker is another package, started by name and never imported."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from typing import Any

from warmlane.cli._exit import Exit
from warmlane.cli._shell import Shell
from warmlane.errors import MissingExtra

#: No argument can contain this, so a parser with it as its prefix takes everything for a value.
_NO_PREFIX = "\0"


def add(commands: Any) -> None:
    """Add the parsers."""
    worker = commands.add_parser(
        "worker",
        help="serve jobs with this machine's devices; everything behind it goes to the worker, also --help",
        prefix_chars=_NO_PREFIX,
        add_help=False,
    )
    worker.add_argument("rest", nargs=argparse.REMAINDER)
    worker.set_defaults(run=_worker)

    gateway = commands.add_parser("gateway", help="serve the HTTP API")
    gateway.add_argument("--host", default="127.0.0.1", help="address to listen on; default: %(default)s")
    gateway.add_argument("--port", type=int, default=8080, help="default: %(default)s")
    gateway.set_defaults(run=_gateway)


def _worker(args: argparse.Namespace, shell: Shell) -> int:
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("a worker needs torch and transformers: pip install 'warmlane[worker]'")
    env = dict(os.environ)
    if args.redis_url is not None:
        env["WARMLANE_REDIS_URL"] = args.redis_url
    if args.namespace is not None:
        env["WARMLANE_NAMESPACE"] = args.namespace
    sys.stdout.flush()
    sys.stderr.flush()
    command = [sys.executable, "-m", "warmlane_workers", *args.rest]
    os.execve(sys.executable, command, env)  # noqa: S606 - our own interpreter, no shell


def _gateway(args: argparse.Namespace, shell: Shell) -> int:
    from warmlane import gateway

    gateway.serve(args.host, args.port, shell.settings)
    return Exit.OK
