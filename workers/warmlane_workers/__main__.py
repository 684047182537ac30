"""`warmlane worker`: flags become environment variables, then the supervisor runs. Children read the environment."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from warmlane.embedded import server_url
from warmlane.errors import ServerUnreachable, WarmlaneError
from warmlane_workers.logs import configure_logging
from warmlane_workers.settings import WorkerSettings
from warmlane_workers.supervisor import EXIT_CONFIGURATION, Supervisor, devices

#: As in `warmlane --help`.
EXIT_USAGE = 2
EXIT_UNREACHABLE = 5

#: Flag -> variable, metavar, help.
_FLAGS = {
    "--redis-url": ("WARMLANE_REDIS_URL", "URL", "the server; default: the embedded one"),
    "--namespace": ("WARMLANE_NAMESPACE", "NAME", "prefix of all keys (warmlane)"),
    "--store": ("WARMLANE_STORE", "DIR|URL", "root of the model store"),
    "--store-cache": ("WARMLANE_STORE_CACHE", "DIR", "where copies of a URL's store lie"),
    "--source-roots": ("WARMLANE_SOURCE_ROOTS", "DIR[:DIR…]", "where saves may read local sources (here)"),
    "--queues": ("WARMLANE_QUEUES", "NAMES", "queues to serve (predict,manage)"),
    "--pool": ("WARMLANE_POOL", "NAME", "the pool that these workers are of (default)"),
    "--blobs": ("WARMLANE_BLOBS", "DIR|URL", "where large payloads and results lie, as clients have it"),
    "--threads": ("WARMLANE_THREADS", "N", "jobs taken at a time by each worker (64)"),
    "--cache-bytes": ("WARMLANE_CACHE_BYTES", "SIZE", "budget of the warm models: 12GB, or a share (0.8; a CPU: 0.5)"),
    "--host-cache-bytes": ("WARMLANE_HOST_CACHE_BYTES", "SIZE", "of those that left a GPU, in host memory (0.0625)"),
    "--cache-ttl": ("WARMLANE_CACHE_TTL", "S", "how long a model stays that nobody uses (while there is room)"),
    "--batch-tokens": ("WARMLANE_BATCH_TOKENS", "N", "padded tokens in a batch (512 on a CPU, 16384 on a GPU)"),
    "--continuous-batching": ("WARMLANE_CONTINUOUS_BATCHING", "auto|off", "texts join batches that run (auto)"),
    "--conversation-ttl": ("WARMLANE_CONVERSATION_TTL", "S", "how long a conversation waits for its next turn (86400)"),
    "--drain-timeout": ("WARMLANE_DRAIN_TIMEOUT", "S", "how long a drain waits for running jobs (600)"),
    "--metrics-port": ("WARMLANE_METRICS_PORT", "PORT", "serve metrics here, the next worker on the next port (off)"),
    "--metrics-host": ("WARMLANE_METRICS_HOST", "HOST", "the address of that (127.0.0.1)"),
    "--log-format": ("WARMLANE_LOG_FORMAT", "json|text", "one line a record (text at a terminal, else json)"),
    "--log-level": ("WARMLANE_LOG_LEVEL", "LEVEL", "DEBUG, INFO, WARNING or ERROR (INFO)"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags and supervise; the exit status."""
    parser = argparse.ArgumentParser(
        prog="warmlane worker",
        description="Serve jobs: one process a device, restarted when it dies. "
        "The first SIGTERM or Ctrl-C drains, the second stops.",
        allow_abbrev=False,
    )
    parser.add_argument("--devices", default="all", help="cpu, all, or numbers of GPUs such as 0,1 (all)")
    parser.add_argument("--trust-remote-code", action="store_true", help="let models run code of their own")
    parser.add_argument("--url-inputs", action="store_true", help="let inputs be URLs, which the worker reads")
    for flag, (variable, metavar, text) in _FLAGS.items():
        parser.add_argument(flag, dest=variable, metavar=metavar, help=f"{text} [{variable}]")
    arguments = vars(parser.parse_args(argv))
    if arguments.pop("trust_remote_code"):
        os.environ["WARMLANE_TRUST_REMOTE_CODE"] = "1"
    if arguments.pop("url_inputs"):
        os.environ["WARMLANE_URL_INPUTS"] = "1"
    names = arguments.pop("devices")
    os.environ |= {variable: value for variable, value in arguments.items() if value is not None}
    try:
        configure_logging()
        settings = WorkerSettings.from_env()
        scope = f"{server_url(settings.client)} {settings.client.namespace}"
        status = Supervisor(devices(names), scope).run()
    except WarmlaneError as exc:
        print(f"warmlane: {exc.code}: {exc.message}", file=sys.stderr)  # noqa: T201 - the command's own message
        return EXIT_UNREACHABLE if isinstance(exc, ServerUnreachable) else EXIT_USAGE
    return EXIT_USAGE if status == EXIT_CONFIGURATION else status


if __name__ == "__main__":
    sys.exit(main())
