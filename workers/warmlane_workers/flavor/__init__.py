"""The artifact: a model directory that MLflow reads and writes too, with the guide's words. Needs torch, no queue.

from warmlane_workers import flavor

flavor.save_model(pipeline, "path/to/model")
pipe = flavor.load_model("path/to/model", dtype="bfloat16")
"""

from warmlane_workers.flavor.load import load_components, load_model
from warmlane_workers.flavor.log import log_model
from warmlane_workers.flavor.persist import persist_pretrained_model
from warmlane_workers.flavor.prediction import generate_signature_output
from warmlane_workers.flavor.save import save_model
from warmlane_workers.flavor.signatures import infer_signature

__all__ = [
    "generate_signature_output",
    "infer_signature",
    "load_components",
    "load_model",
    "log_model",
    "persist_pretrained_model",
    "save_model",
]
