"""Waiting for one job while somebody watches: a bar with the job's phase on stderr. Blocks on the job, never sleeps."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from warmlane.cli import _show
from warmlane.cli._shell import Shell
from warmlane.client import Client, Job
from warmlane.errors import ResultTimeout
from warmlane.results import State

if TYPE_CHECKING:
    from rich.progress import Progress

#: How often the job's record is read for the display, in seconds; its end is seen at once.
_LOOK_S = 0.25


def wait(shell: Shell, job: Job, label: str, timeout: float | None) -> Any:
    """The job's result.

    Raises:
        ResultTimeout: not done in time; the job goes on.
        WarmlaneError: what the job failed with.
    """
    with shell.awaiting(job.id):
        if shell.interactive:
            return _watched(shell.client, job, label, timeout)
        return job.result(timeout)


def bar(*, counting: bool = False) -> Progress:
    """A progress bar on stderr that leaves no trace; `counting` shows "3/8" beside it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

    columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False), BarColumn()]
    if counting:
        columns.append(MofNCompleteColumn())
    # Without redirect_stdout=False, rich sends what is printed on stdout to the bar's console: to stderr.
    return Progress(
        *columns, TimeElapsedColumn(), console=_show.console(sys.stderr), transient=True, redirect_stdout=False
    )


def _watched(client: Client, job: Job, label: str, timeout: float | None) -> Any:
    deadline = None if timeout is None else time.monotonic() + timeout
    with bar() as display:
        row = display.add_task(label, total=1.0)
        while True:
            left = _LOOK_S if deadline is None else deadline - time.monotonic()
            try:
                return job.result(timeout=max(0.0, min(left, _LOOK_S)))
            except ResultTimeout:
                if left <= _LOOK_S and deadline is not None:
                    raise ResultTimeout(
                        f"job {job.id} has no result after {timeout:g} s; it goes on, ask again", id=job.id
                    ) from None
            status = job.status()
            progress = status.progress
            idle = status.state is State.QUEUED and not client.workers()
            phase = "no worker is there, waiting for one" if idle else progress.phase
            display.update(row, completed=progress.fraction, description=f"{label}: {phase}", refresh=True)
