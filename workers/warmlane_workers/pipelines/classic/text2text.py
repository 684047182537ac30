"""Text to text by an encoder-decoder: summarization, translation, and any other that a checkpoint was trained for.

Lengths and beams are the checkpoint's; without any, the answer has the few tokens that it had in transformers 4.41.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from transformers import GenerationConfig

from warmlane_workers.pipelines.classic.generating import GeneratingPipeline

#: A multilingual tokenizer keeps its source language as a state; pipelines may share it.
_SPEAKING = threading.Lock()


class Text2TextGenerationPipeline(GeneratingPipeline):
    """`pipe("text")` -> `[{"generated_text": …}]`; `pipe(["a", "b"])` -> one dict a text.

    Parameters, at construction or at a call: `truncation` (cut inputs at the tokenizer's longest; default False),
    `stop_sequence`, `return_tensors` (token ids instead of text), `clean_up_tokenization_spaces`, `batch_size`, and
    those of `generate`. With `num_return_sequences` above 1, each text gets a list of dicts.

    Raises:
        ValueError: an input is not a text; the model has no encoder.
    """

    return_name = "generated"
    # 20 together with the token that starts the decoder, where neither the caller nor the checkpoint says.
    _default_generation_config = GenerationConfig(max_new_tokens=19)  # type: ignore[no-untyped-call]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.model.config.is_encoder_decoder:
            raise ValueError(
                f"a {type(self.model).__name__} has no encoder, as {self.task} needs; use text-generation with it"
            )

    def _sanitize_parameters(
        self,
        *,
        return_tensors: bool | None = None,
        return_text: bool | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        truncation: Any = None,
        stop_sequence: str | None = None,
        **generate_kwargs: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if return_tensors is None and return_text is not None:
            return_tensors = not return_text
        if stop_sequence is not None:
            generate_kwargs |= {"stop_strings": [stop_sequence], "tokenizer": self.tokenizer}
        before = {"truncation": truncation}
        after = {"return_tensors": return_tensors, "clean_up_tokenization_spaces": clean_up_tokenization_spaces}
        return _given(before), generate_kwargs, _given(after)

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        if isinstance(inputs, list) and not inputs:
            return []
        results = super().__call__(inputs, **kwargs)
        if isinstance(inputs, list) and all(len(records) == 1 for records in results):
            return [records[0] for records in results]
        return results

    def preprocess(self, text: Any, truncation: Any = False) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask`, both (1, tokens)."""
        if not isinstance(text, str):
            raise ValueError(f"{self.task}: an input is a text or a list of texts, not a {type(text).__name__}")
        encoded = self.tokenizer(
            self.prompt_prefix + text, truncation=truncation, return_tensors="pt", return_token_type_ids=False
        )
        return dict(encoded)

    def _forward(self, model_inputs: dict[str, torch.Tensor], **generate_kwargs: Any) -> dict[str, torch.Tensor]:
        language = model_inputs.pop("forced_bos_token_id", None)  # (batch,), all of them the same
        added = {} if language is None else {"forced_bos_token_id": int(language[0])}
        output = self.model.generate(**model_inputs, **self._settings(generate_kwargs, **added))
        ids = getattr(output, "sequences", output)  # (batch * returned, tokens)
        rows = model_inputs["input_ids"].shape[0]
        return {"output_ids": ids.reshape(rows, -1, ids.shape[-1])}

    def postprocess(
        self,
        model_outputs: dict[str, torch.Tensor],
        return_tensors: bool = False,
        clean_up_tokenization_spaces: bool = False,
    ) -> list[dict[str, Any]]:
        sequences = model_outputs["output_ids"][0]  # (returned, tokens)
        if return_tensors:
            return [{f"{self.return_name}_token_ids": self._ended(ids)} for ids in sequences]
        texts = [
            self.tokenizer.decode(
                ids, skip_special_tokens=True, clean_up_tokenization_spaces=clean_up_tokenization_spaces
            )
            for ids in sequences
        ]
        return [{f"{self.return_name}_text": text} for text in texts]

    def _ended(self, ids: torch.Tensor) -> torch.Tensor:
        """Without what pads it to its batch. The first token starts the decoder, and may itself be the end's."""
        end = self.model.generation_config.eos_token_id
        if end is None:
            return ids
        found = torch.isin(ids[1:], torch.tensor(end)).nonzero()
        return ids[: int(found[0]) + 2] if len(found) else ids


class SummarizationPipeline(Text2TextGenerationPipeline):
    """As `Text2TextGenerationPipeline`, its key being `summary_text` (`summary_token_ids`)."""

    return_name = "summary"


class TranslationPipeline(Text2TextGenerationPipeline):
    """As `Text2TextGenerationPipeline`, its key being `translation_text` (`translation_token_ids`).

    Further parameters: `src_lang` and `tgt_lang`, which multilingual models need; by default those that the task names,
    as `translation_en_to_fr` does.
    """

    return_name = "translation"

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        languages = {"src_lang": kwargs.pop("src_lang", None), "tgt_lang": kwargs.pop("tgt_lang", None)}
        named = self.task.split("_")
        if not any(languages.values()) and len(named) == 4:
            languages = {"src_lang": named[1], "tgt_lang": named[3]}
        before, forward, after = super()._sanitize_parameters(**kwargs)
        return {**before, **_given(languages)}, forward, after

    def preprocess(
        self, text: Any, truncation: Any = False, src_lang: str | None = None, tgt_lang: str | None = None
    ) -> dict[str, torch.Tensor]:
        build = getattr(self.tokenizer, "_build_translation_inputs", None)
        if build is None or not isinstance(text, str):
            return super().preprocess(text, truncation)
        with _SPEAKING:
            before = self.tokenizer.src_lang
            try:
                encoded = build(text, return_tensors="pt", truncation=truncation, src_lang=src_lang, tgt_lang=tgt_lang)
                codes = (getattr(self.tokenizer, "cur_lang_code", None), encoded.pop("forced_bos_token_id"))
            except KeyError as exc:
                raise ValueError("src_lang, tgt_lang: the tokenizer has no such language") from exc
            finally:
                self.tokenizer.src_lang = before
        if self.tokenizer.unk_token_id in codes:  # most tokenizers go on with a language that they do not know
            raise ValueError("src_lang, tgt_lang: the tokenizer has no such language")
        return {**encoded, "forced_bos_token_id": torch.tensor(codes[1:])}


def _given(params: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}
