"""What the classic pipelines that generate text share: a checkpoint's settings for its task, under those of the caller.

The classic base class wrote these settings into the model's configuration. Here each call reads them, so that two
pipelines over one model do not change each other.
"""

from __future__ import annotations

from typing import Any

from transformers import GenerationConfig, Pipeline

#: Untyped: its methods are declared as if every pipeline took the same inputs and parameters.
_Pipeline: Any = Pipeline
#: Two settings of one limit: where a caller gives the one, the other is not taken from the checkpoint.
_SAME_LIMIT = {
    "max_length": "max_new_tokens",
    "max_new_tokens": "max_length",
    "min_length": "min_new_tokens",
    "min_new_tokens": "min_length",
}
_SETTINGS = frozenset(GenerationConfig().to_dict())  # type: ignore[no-untyped-call]


class GeneratingPipeline(_Pipeline):  # type: ignore[misc]
    """Base of those pipelines."""

    _pipeline_calls_generate = True
    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.model.can_generate():
            raise ValueError(f"a {type(self.model).__name__} generates no text; {self.task} needs a model that does")

    def _task_params(self) -> dict[str, Any]:
        """What the checkpoint's configuration has under `task_specific_params` for the pipeline's task, by its name."""
        found = (getattr(self.model.config, "task_specific_params", None) or {}).get(self.task) or {}
        return dict(found)

    @property
    def prompt_prefix(self) -> str:
        """The text that the checkpoint wants before each input, e.g. `"summarize: "`."""
        prefix = self._task_params().get("prefix", getattr(self.model.config, "prefix", None))
        return str(prefix or "")

    def _settings(self, given: dict[str, Any], **added: Any) -> dict[str, Any]:
        """The arguments of `generate`: the call's over the constructor's, over the checkpoint's for the task, over
        `_default_generation_config`. A `generation_config` of the caller replaces those for the task.

        Args:
            added: settings that the input asks for; the caller's win.
        """
        asked = given if "generation_config" in given else {**self._generate_kwargs, **given}
        added = {name: value for name, value in added.items() if name not in asked}
        if "generation_config" in asked:
            return dict(self._prepare_generate_kwargs(given, **added))
        task = {
            name: value
            for name, value in self._task_params().items()
            if name in _SETTINGS and name not in asked and _SAME_LIMIT.get(name) not in asked
        }
        return dict(self._prepare_generate_kwargs({**task, **given}, **added))
