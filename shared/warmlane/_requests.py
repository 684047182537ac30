"""The requests that both clients take, as methods that end in `submit`. Knows jobs, neither flows nor connections."""

from __future__ import annotations

import os
from typing import Any, Generic, TypeVar, Unpack

from warmlane.jobs import AliasJob, DeleteJob, Job, JobOptions, LoadJob, PersistJob, PredictJob, SaveJob, UnloadJob

J = TypeVar("J", covariant=True)


class Requests(Generic[J]):
    """The requests that both clients take, each ending in `submit`, which returns the client's kind of handle."""

    def submit(self, job: Job, **options: Unpack[JobOptions]) -> J:
        """Enqueue a job and return its handle.

        Args:
            options: how it is handled: `deadline`, `priority`, `pool`, `idempotency_key`, `result_ttl`; every request
                below takes them too. See `warmlane.jobs.Options`.
        """
        raise NotImplementedError

    def predict(
        self,
        model: str,
        inputs: Any,
        *,
        params: dict[str, Any] | None = None,
        dtype: str | None = None,
        trust_remote_code: bool = False,
        output: str | None = None,
        on_error: str = "job",
        stream: bool = False,
        **options: Unpack[JobOptions],
    ) -> J:
        """Answer `inputs` (one row, or a list of rows) with a model.

        Args:
            model: `name`, `name/3` or `name@alias`.
            params: keyword arguments of the pipeline, e.g. `{"top_k": 2}` or `{"max_new_tokens": 32}`.
            dtype: `float32 float16 bfloat16 float64`; default: as the model is warm, else as it was saved.
            trust_remote_code: let the model run its own code, on a worker that allows it.
            output: "pyfunc" for the guide's shapes, "native" for what the pipeline returns (scores, offsets, nested
                lists), "raw" for the model's own output: a row is a dict of its input arrays then, an answer a dict of
                arrays. Default: the guide's shape where it has one for the task, else native.
            on_error: "job" fails the job with the first row that cannot be answered, and names it; "row" answers that
                row with `{"error": {"code", "message", "details"}}` and the others as ever.
            stream: tell the text of the answer to one row while it is generated: iterate the handle for its pieces.

        The result has one output a row, in order: a `Table` (label, score) for classification, a list of str for
        generation, an ndarray for the features of one text and a list of ndarrays for a list of texts.

        Raises:
            ModelNotFound, SchemaError: before anything is enqueued, where this side can know.
        """
        return self.submit(
            PredictJob(
                model=model,
                inputs=inputs,
                params=params or {},
                dtype=dtype,
                trust_remote_code=trust_remote_code,
                output=output,
                on_error=on_error,
                stream=stream,
            ),
            **options,
        )

    def load(
        self,
        model: str,
        *,
        dtype: str | None = None,
        return_type: str = "pipeline",
        pin: bool = False,
        trust_remote_code: bool = False,
        model_config: dict[str, Any] | None = None,
        **options: Unpack[JobOptions],
    ) -> J:
        """Warm a model. The result tells what was loaded: class names, recorded and effective dtype, device, bytes.

        Args:
            model_config: parameters of every predict that this worker answers with the model until it is unloaded or
                loaded again, over those that were saved with it, and below a predict's own.
        """
        return self.submit(
            LoadJob(
                model=model,
                dtype=dtype,
                return_type=return_type,
                pin=pin,
                trust_remote_code=trust_remote_code,
                model_config=model_config,
            ),
            **options,
        )

    def unload(self, model: str, **options: Unpack[JobOptions]) -> J:
        """Free a model on every worker that holds it, pinned or not. The result tells the bytes freed by each."""
        return self.submit(UnloadJob(model=model), **options)

    def save(
        self,
        name: str,
        source: str | os.PathLike[str] | dict[str, str],
        *,
        task: str | None = None,
        dtype: str | None = None,
        save_pretrained: bool = True,
        revision: str | None = None,
        metadata: dict[str, Any] | None = None,
        trust_remote_code: bool = False,
        processor: str | os.PathLike[str] | None = None,
        signature: dict[str, Any] | None = None,
        input_example: Any = None,
        prompt_template: str | None = None,
        model_config: dict[str, Any] | None = None,
        model_card: str | None = None,
        pip_requirements: list[str] | None = None,
        extra_pip_requirements: list[str] | None = None,
        conda_env: dict[str, Any] | None = None,
        code_paths: list[str] | None = None,
        base_model_path: str | os.PathLike[str] | None = None,
        **options: Unpack[JobOptions],
    ) -> J:
        """Publish a new version of a model in the model store.

        Args:
            source: a checkpoint directory, a PEFT adapter's directory, an MLflow model directory, a hub id, or a dict
                of components. A directory that exists here is sent as an absolute path; the worker must see it and
                allow it; so are `processor`, `code_paths` and `base_model_path`.
            save_pretrained: False stores the hub's name and commit instead of the weights.

        The other arguments are those of `warmlane_workers.flavor.save_model`. The result has `model` (`name/version`),
        `task`, `dtype`, `bytes`.
        """
        return self.submit(
            SaveJob(
                name=name,
                source=_absolute(source),
                task=task,
                dtype=dtype,
                save_pretrained=save_pretrained,
                revision=revision,
                metadata=metadata or {},
                trust_remote_code=trust_remote_code,
                processor=_absolute(processor),
                signature=signature,
                input_example=input_example,
                prompt_template=prompt_template,
                model_config=model_config,
                model_card=model_card,
                pip_requirements=pip_requirements,
                extra_pip_requirements=extra_pip_requirements,
                conda_env=conda_env,
                code_paths=None if code_paths is None else [os.path.abspath(path) for path in code_paths],
                base_model_path=_absolute(base_model_path),
            ),
            **options,
        )

    def persist(self, model: str, **options: Unpack[JobOptions]) -> J:
        """Fetch the weights of a model that was saved by reference into the model store."""
        return self.submit(PersistJob(model=model), **options)

    def alias(self, model: str, alias: str, **options: Unpack[JobOptions]) -> J:
        """Let `name@alias` mean a version, e.g. `client.alias("sentiment/3", "prod")`; an alias that there is moves.

        The result has `model` (`name/version`), `alias`, and `before` (the version that it meant, or None).
        """
        return self.submit(AliasJob(model=model, alias=alias), **options)

    def delete(self, model: str, **options: Unpack[JobOptions]) -> J:
        """Delete a version (`name/3`), a model with all versions and aliases (`name`), or an alias alone (`name@old`).

        A version that an alias means is not deleted (`ModelInUse`). What is deleted is unloaded on every worker; its
        number is never given out again. The result has `model`, `versions` and `aliases` (what is gone), and `bytes`
        (freed in memory).
        """
        return self.submit(DeleteJob(model=model), **options)


def _absolute(source: Any) -> Any:
    """Local directories as absolute paths: the worker has another working directory. Hub ids stay as they are."""
    if isinstance(source, dict):
        return {name: _absolute(part) for name, part in source.items()}
    if not isinstance(source, str | os.PathLike):
        return source
    text = os.path.expanduser(os.fspath(source))
    return os.path.abspath(text) if os.path.isdir(text) else text
