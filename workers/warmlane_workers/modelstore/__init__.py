"""The model store: names, versions, aliases; in a directory, or in any place that fsspec reaches."""

from warmlane_workers.modelstore.store import JOB_KEY, ModelStore

__all__ = ["JOB_KEY", "ModelStore"]
