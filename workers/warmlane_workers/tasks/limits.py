"""How much a model reads of a row: tokens by its positions, samples by its feature extractor. Knows no task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from transformers import PreTrainedConfig

from warmlane.errors import InputTooLong

#: A tokenizer that knows no limit of its model says a number beyond this one.
_NO_LIMIT = 10**9
#: Parts of a compound configuration that say how many tokens are read, in the order in which they count.
_READERS = ("text_encoder", "encoder", "text_config", "decoder")
#: What configurations call the number of positions.
_NAMES = ("max_position_embeddings", "max_text_positions")
#: Embeddings of positions, by the names that models give them. A model without one computes its positions.
POSITION_TABLES = ("wpe", "embed_positions", "position_embeddings")
#: The window and the step of the audio spectrogram transformer's features, in samples.
_AST_WINDOW, _AST_STEP = 400, 160


def positions(model: Any) -> int | None:
    """Most tokens that a model reads; None where its configuration does not say."""
    parts = (getattr(model.config, name, None) for name in _READERS)
    configs = [part for part in parts if isinstance(part, PreTrainedConfig)] or [model.config]
    known = (getattr(config, name, None) for config in configs for name in _NAMES)
    found = next((count for count in known if isinstance(count, int) and count > 0), None)
    return None if found is None else found - spent(model)


def vocabulary(model: Any) -> int | None:
    """How many tokens a model knows; None where its configuration does not say."""
    count = getattr(model.config.get_text_config(decoder=True), "vocab_size", None)
    return count if isinstance(count, int) and count > 0 else None


def answer_positions(model: Any) -> int | None:
    """Most tokens that the decoder of an encoder-decoder writes; None where it computes its positions."""
    if not model.config.is_encoder_decoder:
        return None
    decoder = model.get_decoder()
    tables = (module for name, module in decoder.named_modules() if name.endswith(POSITION_TABLES))
    learned = any(isinstance(table, torch.nn.Embedding) for table in tables)
    count = getattr(decoder.config, "max_position_embeddings", None)
    return count if learned and isinstance(count, int) else None


def spent(model: Any) -> int:
    """Positions that stand for padding: models of the RoBERTa family begin to count after them."""
    tables = (module for name, module in model.named_modules() if name.endswith("position_embeddings"))
    paddings = (table.padding_idx for table in tables if isinstance(table, torch.nn.Embedding))
    return next((padding + 1 for padding in paddings if padding is not None), 0)


def stretches(model: Any) -> bool:
    """Whether the frequencies of a model's positions follow the longest text that is with it (dynamic and LongRoPE).

    Such a model answers a text as it would alone only if nobody longer is in its batch, and no other batch runs on it:
    the frequencies are kept in the model.
    """
    types = (getattr(module, "rope_type", None) for module in model.modules())
    named = (name for type_ in types for name in (type_.values() if isinstance(type_, Mapping) else (type_,)))
    return any(isinstance(name, str) and ("dynamic" in name or name == "longrope") for name in named)


def known_length(tokenizer: Any) -> int | None:
    """Most tokens of a text as its tokenizer knows it: where its pipelines cut."""
    length = tokenizer.model_max_length
    return int(length) if length is not None and 0 < length < _NO_LIMIT else None


def align(tokenizer: Any, limit: int | None) -> None:
    """Tell a tokenizer the limit of its model, where it knows none or a larger one."""
    known = known_length(tokenizer)
    if limit is not None and (known is None or known > limit):
        tokenizer.model_max_length = limit


def samples(extractor: Any) -> int | None:
    """Most samples of a sound that a feature extractor takes; it leaves out the rest. None: it takes all."""
    if type(extractor).__name__ == "ASTFeatureExtractor":
        return int(extractor.max_length) * _AST_STEP + _AST_WINDOW - 1
    if getattr(extractor, "truncation", None) == "fusion":  # CLAP reads the whole of a long sound, shrunk
        return None
    found = getattr(extractor, "nb_max_samples", None) or getattr(extractor, "n_samples", None)
    return found if isinstance(found, int) else None


def token_counts(item: Mapping[str, Any]) -> Iterator[int]:
    """How long the texts are that a pipeline's first step made tensors of, wherever it has put them."""
    inputs = [item, *(item.get("text_inputs") or ()), *(inputs for inputs, _ in item.get("prompts") or ())]
    for name in ("input_ids", "decoder_input_ids"):
        yield from (part[name].shape[-1] for part in inputs if isinstance(part.get(name), torch.Tensor))


def check(tokens: int, limit: int | None, remedy: str) -> None:
    """Refuse what would end in an index error: on a GPU it would end the process.

    Args:
        remedy: what the caller can do.

    Raises:
        InputTooLong: more tokens than the model reads.
    """
    if limit is not None and tokens > limit:
        raise InputTooLong(
            f"a row has {tokens} tokens, the model reads {limit}; {remedy}",
            tokens=tokens,
            limit=limit,
        )
