"""warmlane keeps Hugging Face Transformers models warm behind a queue. This package is the application's side.

    from warmlane import Client

    client = Client()
    client.save("sentiment", source="org/repo", task="text-classification").result(timeout=600)
    client.predict("sentiment", ["great", "awful"]).result(timeout=30)

Importing it loads no torch, no transformers, no numpy and no worker code.
"""

from warmlane.aio import AsyncClient, AsyncJob
from warmlane.client import Client, Job
from warmlane.errors import WarmlaneError
from warmlane.results import JobStatus, ModelInfo, NDArray, Progress, State, Table, WarmModel, WorkerInfo
from warmlane.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "Client",
    "Job",
    "JobStatus",
    "ModelInfo",
    "NDArray",
    "Progress",
    "Settings",
    "State",
    "Table",
    "WarmModel",
    "WarmlaneError",
    "WorkerInfo",
    "__version__",
]
