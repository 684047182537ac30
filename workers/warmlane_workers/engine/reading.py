"""What a job asks, beside what its model says of itself: signature, saved configuration, prompt template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from warmlane.errors import InvalidInput, InvalidParams, SchemaError
from warmlane.jobs import PredictJob
from warmlane.signature import check_inputs, check_params, check_row
from warmlane_workers import tasks
from warmlane_workers.mlmodel import Artifact
from warmlane_workers.tasks.base import Task
from warmlane_workers.tasks.params import of_config
from warmlane_workers.tasks.trimming import split


def framed(template: str | None, row: Any) -> Any:
    """A row in a prompt template (the guide, "Saving Prompt Templates with Transformer Pipelines"): a text, or what a
    request in OpenAI's shape asks.

    Raises:
        SchemaError: a row that is neither.
    """
    if template is None:
        return row
    if isinstance(row, str):
        return template.format(prompt=row)
    asked = next((name for name in ("prompt", "input") if isinstance(row, dict) and name in row), None)
    if asked is None:
        raise SchemaError(
            "inputs: the model frames each input in its prompt template, so a row is a str", field="inputs"
        )
    if isinstance(row[asked], list):
        return {**row, asked: [framed(template, text) for text in row[asked]]}
    return {**row, asked: framed(template, row[asked])}


def effective(artifact: Artifact, params: Mapping[str, Any], loaded: Mapping[str, Any]) -> dict[str, Any]:
    """A job's parameters over the defaults of the signature, over the configuration of the last load, over that which
    was saved with the model.

    Source: the guide, "Using model_config and Model Signature Params for Inference". MLflow leaves the configuration
    out for conversations, and so do we; it trims the texts of text generation only, whatever the configuration says.

    Args:
        loaded: the `model_config` of the load that warmed the model.
    """
    config = {} if artifact.task == "conversational" else {**artifact.model_config, **loaded}
    if artifact.task != "text-generation" or artifact.inference_task is not None:
        config, _ = split(config)
    schema = (artifact.signature or {}).get("params") or ()
    defaults = {param["name"]: param["default"] for param in schema if param.get("default") is not None}
    return {**config, **defaults, **params}


def check_config(artifact: Artifact, config: Mapping[str, Any], task: Task) -> None:
    """Refuse at the load what would fail each predict.

    Raises:
        InvalidInput: a conversational model, which no configuration counts for.
        InvalidParams: an unknown or ill-typed key; the message lists the allowed.
    """
    if artifact.task == "conversational":
        raise InvalidInput("model_config: conversations go by none; give `params` to predict", field="model_config")
    try:
        task.plan({**effective(artifact, {}, {}), **config})
    except InvalidParams as exc:
        raise of_config(exc) from exc


def check_job(artifact: Artifact, job: PredictJob) -> None:
    """What can be known before the model is loaded; each row apart where rows fail alone.

    Raises:
        UnsupportedTask, SchemaError, InvalidParams: this model cannot answer it.
    """
    tasks.check(artifact.task)
    if job.on_error == "job":
        check_inputs(artifact.signature, artifact.task, job.inputs)
    check_params(artifact.signature, job.params)


def read_row(artifact: Artifact, job: PredictJob, row: Any) -> Any:
    """A row as the task takes it."""
    if job.on_error == "row":
        check_row(artifact.signature, artifact.task, row)
    return framed(artifact.prompt_template, row)
