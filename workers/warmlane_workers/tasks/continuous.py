"""What of a row transformers' continuous batching can generate. Knows settings of generation, and no queue.

It knows greedy decoding, and sampling by temperature, top-k and top-p. Whatever else changes an answer (beams,
penalties, constraints, …) needs `generate`; so does a setting that nobody here knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import StoppingCriteria

#: Settings that change no answer of one beam: they are read elsewhere, or are about what is returned or kept.
_WITHOUT_EFFECT = frozenset(
    {
        *("max_new_tokens", "max_length", "eos_token_id", "pad_token_id", "bos_token_id", "decoder_start_token_id"),
        *("do_sample", "temperature", "top_k", "top_p", "early_stopping", "length_penalty", "use_cache", "tokenizer"),
        *("cache_implementation", "transformers_version", "_from_model_config"),
    }
)
#: Settings of sampling alone: without it they have no effect.
_OF_SAMPLING = frozenset({"min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_h"})
#: Others, with the value by which they are off; None is off for all.
_OFF: Mapping[str, Any] = {
    "num_beams": 1,
    "num_beam_groups": 1,
    "num_return_sequences": 1,
    "diversity_penalty": 0.0,
    "min_length": 0,
    "min_new_tokens": 0,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "guidance_scale": 1,
    "renormalize_logits": False,
    "remove_invalid_values": False,
    "output_attentions": False,
    "output_hidden_states": False,
    "output_scores": False,
    "output_logits": False,
    "return_dict_in_generate": False,
}
#: Of how many tokens `generate` draws where nobody says a number; a number that is None says all.
_TOP_K = 50


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        top_k: how many of the likeliest; the vocabulary's size is all of them.
    """

    temperature: float
    top_k: int
    top_p: float


@dataclass(frozen=True, slots=True)
class Manner:
    """How an answer is generated.

    Attributes:
        ends: the tokens that end it.
        sampling: None is greedy: the likeliest token.
    """

    ends: tuple[int, ...] = ()
    sampling: Sampling | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One answer that is to be generated.

    Attributes:
        ids: the prompt's tokens.
        most: tokens of the answer; one of the manner's ends may end it before.
        criteria: ask of prompt and answer (1, tokens) after each token whether it has ended.
    """

    ids: list[int]
    most: int
    manner: Manner
    criteria: tuple[StoppingCriteria, ...] = ()


def manner(settings: Mapping[str, Any], vocabulary: int | None) -> Manner | None:
    """How `generate` would generate by these settings; None where only it can.

    Args:
        vocabulary: how many tokens the model knows; None: it does not say.
    """
    sampled = bool(settings.get("do_sample"))
    for name, value in settings.items():
        if name in _WITHOUT_EFFECT or value is None or (name in _OF_SAMPLING and not sampled):
            continue
        if name not in _OFF or value != _OFF[name]:
            return None
    ends = settings.get("eos_token_id")
    ends = () if ends is None else (ends,) if isinstance(ends, int) else tuple(ends)
    if not sampled:
        return Manner(ends)
    return None if vocabulary is None else Manner(ends, _sampling(settings, vocabulary))


def _sampling(settings: Mapping[str, Any], vocabulary: int) -> Sampling:
    top_k = settings.get("top_k", _TOP_K) or vocabulary
    temperature, top_p = settings.get("temperature", 1.0), settings.get("top_p", 1.0)
    return Sampling(
        temperature=1.0 if temperature is None else float(temperature),
        top_k=min(int(top_k), vocabulary),
        top_p=1.0 if top_p is None else min(1.0, float(top_p)),
    )
