"""A model as anyone would serve it: the bare pipeline for one text, one padded batch for many. Runs in any environment
that has torch and transformers, and knows nothing of warmlane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

EMBEDDING = "feature-extraction"


class Model:
    """The pipeline of a model directory, on one torch thread. A classifier answers `{"label", "score"}`, an encoder a
    list of floats: the mean over the tokens, of length 1."""

    def __init__(self, directory: str, task: str) -> None:
        import torch
        from transformers import pipeline
        from transformers.utils import logging

        logging.disable_progress_bar()
        torch.set_num_threads(1)
        self.torch = torch
        self.task = task
        self.pipe = pipeline(task, model=directory, device="cpu")

    def one(self, text: str) -> Any:
        """The bare pipeline's answer."""
        if self.task != EMBEDDING:
            return self.pipe(text)[0]
        hidden = self.pipe(text, return_tensors=True)  # (1, tokens, hidden)
        return self._pool(hidden, self.torch.ones(hidden.shape[:2]))[0]

    def many(self, rows: Sequence[str]) -> list[Any]:
        """All in one batch, in order of arrival."""
        if self.task != EMBEDDING:
            return list(self.pipe(list(rows), batch_size=len(rows)))
        return self.forward([self.pipe.tokenizer(row) for row in rows])

    def forward(self, encoded: list[Any]) -> list[Any]:
        """The answers to tokenised texts, in one batch."""
        inputs = self.pipe.tokenizer.pad(encoded, return_tensors="pt")
        with self.torch.inference_mode():
            outputs = self.pipe.model(**inputs)
        if self.task == EMBEDDING:
            return self._pool(outputs[0], inputs["attention_mask"])
        scores = outputs.logits.softmax(-1)  # (batch, labels)
        best = scores.max(-1)
        names = self.pipe.model.config.id2label
        return [
            {"label": names[place], "score": score}
            for place, score in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def _pool(self, hidden: Any, mask: Any) -> list[list[float]]:
        summed = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)  # (batch, hidden)
        pooled: list[list[float]] = self.torch.nn.functional.normalize(summed, dim=-1).tolist()
        return pooled
