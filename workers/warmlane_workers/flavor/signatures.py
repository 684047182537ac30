"""Signatures from data: of an input, an output and parameters, as MLflow's `infer_signature` does it, in plain data.

And the guide's second way to a signature: one prediction on an input example, which must succeed.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import Any

from warmlane.errors import ConfigurationError, SaveRefused, WarmlaneError
from warmlane.signature import Signature, default_signature
from warmlane_workers.flavor import examples, inference
from warmlane_workers.flavor.prediction import Late, bounded, generate_signature_output
from warmlane_workers.tasks.outputs import has_shape

logger = logging.getLogger(__name__)

#: How long the prediction on an input example may take, in seconds; MLflow's variable overrides it.
TIMEOUT_S = 180.0
TIMEOUT_VARIABLE = "MLFLOW_INPUT_EXAMPLE_INFERENCE_TIMEOUT"


def infer_signature(
    model_input: Any = None, model_output: Any = None, params: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The signature that data have.

    Args:
        model_input: str, bytes, numbers, bool, times, lists of them, dicts (their keys are columns), lists of dicts (a
            key that some lack is optional), arrays, a table.
        model_output: the same; `generate_signature_output` gives it.
        params: parameters with their defaults.

    Raises:
        InvalidInput: a value of a type that no signature has.
    """
    return {
        "inputs": None if model_input is None else inference.columns(model_input, "model_input"),
        "outputs": None if model_output is None else inference.columns(model_output, "model_output"),
        "params": inference.parameters(params) if params else None,
    }


def of_example(
    pipeline: Any,
    example: Any,
    params: Mapping[str, Any] | None = None,
    *,
    model_config: Mapping[str, Any] | None = None,
    timeout_s: float | None = None,
) -> Signature | None:
    """The signature of an input example and of what the pipeline answers to it.

    A task without a shape in the guide has its default, if any, and nothing is predicted. An answer that takes too long
    is not waited for: then it is the task's default, with the params.

    Args:
        timeout_s: default: `MLFLOW_INPUT_EXAMPLE_INFERENCE_TIMEOUT`, else 180 s.

    Raises:
        SaveRefused: the pipeline cannot answer the example; the message names the cause's type.
        InvalidInput: a value of a type that no signature has.
        ConfigurationError: the variable is no number of seconds.
    """
    limit_s = _timeout() if timeout_s is None else timeout_s
    default = default_signature(pipeline.task)
    if not has_shape(pipeline.task):
        return default
    example = examples.with_json(example)
    inferred = infer_signature(example, None, params)
    try:
        output = bounded(lambda: generate_signature_output(pipeline, example, model_config, params), limit_s)
    except Late:
        logger.warning(
            "the prediction on the input example took more than %g s; the signature is the default of %s",
            limit_s,
            pipeline.task,
            extra={"action": "example_late"},
        )
        return {**default, "params": inferred["params"]} if default else None
    except WarmlaneError:
        raise
    except Exception as exc:
        raise SaveRefused(
            f"input_example: the pipeline cannot answer it ({type(exc).__name__}); give an input, and params, that a "
            "caller would send",
            field="input_example",
            cause=type(exc).__name__,
        ) from exc
    return {**inferred, "outputs": infer_signature(None, output)["outputs"]}


def _timeout() -> float:
    text = os.environ.get(TIMEOUT_VARIABLE, str(TIMEOUT_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ConfigurationError(f"{TIMEOUT_VARIABLE}: a number of seconds above 0", field=TIMEOUT_VARIABLE)
    return min(seconds, threading.TIMEOUT_MAX)
