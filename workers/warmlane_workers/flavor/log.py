"""Give a model a name and a version: by a save job where there is a client, else straight into a model store."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from warmlane.client import Client
from warmlane.errors import InvalidInput
from warmlane.jobs import check_name
from warmlane_workers.flavor.save import save_model
from warmlane_workers.modelstore import ModelStore
from warmlane_workers.settings import WorkerSettings


def log_model(
    transformers_model: Any,
    name: str,
    *,
    client: Client | None = None,
    store: str | os.PathLike[str] | None = None,
    staging: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
    **options: Any,
) -> str:
    """Publish a new version of a model.

    Args:
        transformers_model, options: as `save_model` takes them.
        client: publish by a save job. Sources that are names travel as they are; objects are saved in `staging`, and
            the worker takes them from there.
        store: without a client, the model store's root or URL; default: `WARMLANE_STORE`. Workers that run announce the
            version to callers when they start next.
        staging: a directory that the worker may read (its `--source-roots`); default: the working directory.
        timeout: how long to wait for the job, in seconds.

    Returns:
        The version's reference, `name/3`.

    Raises:
        SaveRefused and others of `save_model`; those of `Job.result`.
    """
    check_name(name)
    if client is None:
        settings = WorkerSettings.from_env()
        models = ModelStore(settings.store if store is None else os.fspath(store), settings.store_cache)
        models.open()
        version, _ = models.publish(name, lambda directory: save_model(transformers_model, directory, **options))
        return f"{name}/{version}"
    if store is not None:
        raise InvalidInput("store: excludes client, whose workers know their store", field="store")
    if _travels(transformers_model) and _travels(options.get("processor")):
        return str(client.save(name, transformers_model, **options).result(timeout)["model"])
    with tempfile.TemporaryDirectory(prefix=".warmlane-", dir=staging or Path.cwd()) as directory:
        save_model(transformers_model, Path(directory) / "model", **options)
        code = bool(options.get("trust_remote_code", False))
        job = client.save(name, Path(directory) / "model", trust_remote_code=code)
        return str(job.result(timeout)["model"])


def _travels(model: Any) -> bool:
    """Whether it is made of names only."""
    if isinstance(model, Mapping):
        return all(_travels(part) for part in model.values())
    return model is None or isinstance(model, str | os.PathLike)
