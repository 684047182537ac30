"""Commands that look: job, models, workers; and cancel, which needs no more than an id."""

from __future__ import annotations

import argparse
import dataclasses
import math
from datetime import datetime
from typing import Any

from warmlane import errors
from warmlane.cli import _show
from warmlane.cli._args import seconds
from warmlane.cli._exit import Exit
from warmlane.cli._shell import Shell
from warmlane.cli._wait import wait
from warmlane.errors import WarmlaneError
from warmlane.results import JobStatus, ModelInfo, State, WorkerInfo

#: `--wait` without a number: wait until the job is done.
_FOR_EVER = math.inf


def add(commands: Any) -> None:
    """Add the parsers."""
    job = commands.add_parser("job", help="the record of a job; with --wait its result too")
    job.add_argument("id")
    job.add_argument(
        "--wait", nargs="?", type=seconds, const=_FOR_EVER, metavar="S", help="until it is done, or at most S seconds"
    )
    job.set_defaults(run=_job)

    cancel = commands.add_parser("cancel", help="end a job: at once while it waits, soon while it runs")
    cancel.add_argument("id")
    cancel.set_defaults(run=_cancel)

    models = commands.add_parser("models", help="the published models")
    models.set_defaults(run=_models)

    workers = commands.add_parser("workers", help="the live workers and the models that they hold warm")
    workers.set_defaults(run=_workers)


def _job(args: argparse.Namespace, shell: Shell) -> int:
    job = shell.client.job(args.id)
    result: Any = None
    error: WarmlaneError | None = None
    if args.wait is not None:
        job.status()  # an unknown id is an error at once
        try:
            result = wait(shell, job, "job", None if args.wait == _FOR_EVER else args.wait)
        except (errors.ResultTimeout, errors.ServerUnreachable):
            raise
        except WarmlaneError as exc:  # how the job ended: its record is worth printing before that is told
            error = exc
    status = job.status()
    document = status.to_dict()
    if args.wait is not None:
        document["result"] = result
    shell.answer(document, lambda: _print_job(status, result, with_result=args.wait is not None and error is None))
    if error is not None:
        raise error
    return Exit.OK


def _print_job(status: JobStatus, result: Any, *, with_result: bool) -> None:
    rows = [
        ("id", status.id),
        ("kind", status.kind),
        ("model", status.model),
        ("state", status.state.value + (" (cancel requested)" if _to_be_cancelled(status) else "")),
        ("progress", f"{status.progress.fraction:.0%} {status.progress.phase}"),
        ("queued", _when(status.queued)),
        ("started", _when(status.started)),
        ("finished", _when(status.finished)),
        ("worker", status.worker),
        ("attempts", len(status.attempts)),
        ("priority", status.priority),
        ("pool", status.pool),
    ]
    if status.deadline is not None:
        rows.append(("deadline", _when(status.deadline)))
    if status.replay_of is not None:
        rows.append(("replay of", status.replay_of))
    if status.replayed_as is not None:
        rows.append(("replayed as", status.replayed_as))
    if status.error is not None:
        rows.append(("error", f"{status.error['code']}: {status.error['message']}"))
    if status.truncated:
        rows.append(("truncated rows", _show.cell(status.truncated)))
    _show.facts(rows)
    if with_result:
        _show.value(result)


def _to_be_cancelled(status: JobStatus) -> bool:
    return status.cancel_requested and not status.state.final


def _when(time: float | None) -> str | None:
    return (
        None if time is None else datetime.fromtimestamp(time).astimezone().isoformat(sep=" ", timespec="milliseconds")
    )


def _cancel(args: argparse.Namespace, shell: Shell) -> int:
    state = shell.client.job(args.id).cancel()
    text = {
        State.CANCELLED: "cancelled",
        State.RUNNING: "asked to stop; it ends at its next safe point",
        State.LOADING: "asked to stop; it ends at its next safe point",
    }.get(state, f"too late, the job is {state.value}")
    shell.answer({"id": args.id, "state": state.value}, lambda: print(text))
    return Exit.OK


def _models(args: argparse.Namespace, shell: Shell) -> int:
    models = shell.client.models()
    shell.answer([dataclasses.asdict(model) for model in models], lambda: _print_models(models))
    return Exit.OK


def _print_models(models: list[ModelInfo]) -> None:
    names = ("model", "versions", "aliases", "task", "dtype", "size", "warm on")
    rows = [
        (
            model.name,
            list(model.versions),
            [f"{alias}={version}" for alias, version in sorted(model.aliases.items())],
            model.task,
            model.dtype,
            _show.size(model.bytes),
            list(model.warm_on),
        )
        for model in models
    ]
    if models:
        _show.console().print(_show.grid(names, rows))
    else:
        print("no models; publish one with `warmlane save`")


def _workers(args: argparse.Namespace, shell: Shell) -> int:
    workers = shell.client.workers()
    shell.answer([dataclasses.asdict(worker) for worker in workers], lambda: print_workers(workers))
    return Exit.OK


def print_workers(workers: list[WorkerInfo]) -> None:
    """Tables of the workers and of what they hold warm."""
    if not workers:
        print("no live workers; start one with `warmlane worker`")
        return
    names = ("worker", "host", "pid", "device", "state", "running", "threads", "budget", "queues")
    rows = [
        (
            worker.id,
            worker.host,
            worker.pid,
            worker.device,
            worker.state,
            worker.running,
            worker.threads,
            _show.size(worker.budget_bytes),
            worker.queues,
        )
        for worker in workers
    ]
    warm = [
        (
            model.model,
            worker.id,
            model.task,
            model.dtype,
            _show.size(model.bytes),
            model.base and f"{model.base} ({_show.size(model.base_bytes)})",
            model.pinned,
            f"{model.idle_s:.0f} s",
        )
        for worker in workers
        for model in worker.models
    ]
    console = _show.console()
    console.print(_show.grid(names, rows))
    if warm:
        console.print(_show.grid(("warm model", "worker", "task", "dtype", "size", "base", "pinned", "idle"), warm))
