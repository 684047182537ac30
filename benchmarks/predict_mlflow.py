"""MLflow's side of `benchmarks.predict`, run by an interpreter that has MLflow: knows nothing of warmlane.

A line of JSON in: `{"directory", "inputs", "sound", "each", "calls"}`. A line out: `{"cpu_s"}` of one call on average,
or `{"error"}`. `sound`: inputs are samples; `each`: they are asked one by one.
"""

from __future__ import annotations

import functools
import json
import sys
import time
import warnings
from typing import Any


@functools.cache
def model(directory: str) -> Any:
    import mlflow

    return mlflow.pyfunc.load_model(directory)


def ask(request: dict[str, Any]) -> None:
    import numpy

    loaded = model(request["directory"])
    inputs = request["inputs"]
    if request["sound"]:
        inputs = [numpy.array(samples, numpy.float32) for samples in inputs]
    for one in inputs if request["each"] else [inputs]:
        loaded.predict(one)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        started = time.process_time()
        for _ in range(request["calls"]):
            ask(request)
        return {"cpu_s": (time.process_time() - started) / request["calls"]}
    except Exception as exc:  # noqa: BLE001 - the report says what MLflow could not do
        return {"error": f"{type(exc).__name__}: {str(exc)[:200]}"}


def main() -> None:
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print, too
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
