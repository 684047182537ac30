"""A model behind MLflow's scoring server: saved in MLflow's own flavor for it, then served by its own command.

Run by `benchmarks.peers` with an interpreter that has MLflow:
`python -m benchmarks.peers_mlflow DIRECTORY TASK PORT WORKERS`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def save(directory: str, task: str, target: Path) -> None:
    """Embeddings are served by MLflow as a sentence model: of the pipeline it would answer a vector for each token."""
    if task == "feature-extraction":
        import mlflow.sentence_transformers
        from sentence_transformers import SentenceTransformer

        mlflow.sentence_transformers.save_model(
            SentenceTransformer(directory, device="cpu"), str(target), pip_requirements=[]
        )
    else:
        import mlflow.transformers
        from transformers import pipeline

        mlflow.transformers.save_model(pipeline(task, model=directory), str(target), pip_requirements=[])


if __name__ == "__main__":
    directory, task, port, workers = sys.argv[1:5]
    target = Path(tempfile.mkdtemp(dir=os.environ["PEERS_HOME"])) / "model"
    save(directory, task, target)
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(target), "--env-manager", "local"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # the command looks for its server there
    os.execv(sys.executable, [*command, "--host", "127.0.0.1", "--port", port, "--workers", workers])
