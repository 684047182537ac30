"""What the parameters of the pipelines may be, by their names. Knows no model: a task says where its own sets a bound.

A pipeline takes most of them on trust, and fails where it uses them: on the device, or in the row's last step. So each
is checked before a row is read. None stands for a parameter that is left out.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from warmlane.errors import InvalidParams

#: Most tokens that an answer may have where the model sets no end, and most beams: a job has its device to itself for
#: as long as it generates, and beams multiply what a row takes of its memory.
MOST_TOKENS = 65_536
MOST_BEAMS = 32


@dataclass(frozen=True, slots=True)
class Kind:
    """What a parameter may be.

    Attributes:
        text: the same in words, as an error has it.
    """

    text: str
    fits: Callable[[Any], bool]


def whole(least: int, most: int | None = None) -> Kind:
    """A whole number, which true and 2.0 are not."""
    end = "" if most is None else f" to {most}"
    return Kind(
        f"a whole number from {least}{end}",
        lambda value: type(value) is int and value >= least and (most is None or value <= most),
    )


def number(least: float = -math.inf, most: float = math.inf) -> Kind:
    """A finite number; both bounds are part of the range."""
    ends = f" from {least:g}" if least > -math.inf else ""
    ends += f" to {most:g}" if most < math.inf else ""
    return Kind(f"a number{ends}", lambda value: is_number(value) and least <= value <= most)


def above(least: float, most: float = math.inf) -> Kind:
    """A finite number above a bound, up to another."""
    end = f", up to {most:g}" if most < math.inf else ""
    return Kind(f"a number above {least:g}{end}", lambda value: is_number(value) and least < value <= most)


def one_of(*values: Any, cased: bool = True) -> Kind:
    """One of some str and flags; 1 is not true.

    Args:
        cased: whether capitals make another str.
    """
    shown = ", ".join(str(value).lower() if isinstance(value, bool) else value for value in values)
    types = {type(value) for value in values}

    def fits(value: Any) -> bool:
        return type(value) in types and (value.lower() if isinstance(value, str) and not cased else value) in values

    return Kind(f"one of {shown}", fits)


def token_ids(vocabulary: int | None, *, several: bool = False, lone: bool = True, least: int = 0) -> Kind:
    """The number of a token, or a list of such that is not empty.

    Args:
        vocabulary: how many tokens the model knows; None where it does not say.
        several: a list will do.
        lone: a number will do.
        least: the lowest number; one below 0 is that of no token.
    """
    known = whole(least, None if vocabulary is None else vocabulary - 1)
    forms = [f"the number of a token, {known.text}"] if lone else []
    forms += ["a list of such"] if several and lone else [f"a list of tokens' numbers, each {known.text}"] * several

    def fits(value: Any) -> bool:
        if isinstance(value, list | tuple):
            return several and bool(value) and all(map(known.fits, value))
        return lone and known.fits(value)

    return Kind(", or ".join(forms), fits)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, and neither true nor false."""
    return type(value) in (int, float) and math.isfinite(value)


def _is_template(value: Any) -> bool:
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(value) if field is not None]
    except (TypeError, ValueError):  # no str, or a brace without its other
        return False
    return fields == [""]


def _is_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(text, str) and text for text in value)


FLAG = Kind("true or false", lambda value: isinstance(value, bool))
TEXT = Kind("a str", lambda value: isinstance(value, str))
TEXTS = Kind("a list of str", lambda value: value == [] or _is_texts(value))
SOME_TEXTS = Kind("a str, or a list of them, not empty", lambda value: _is_texts([value]) or _is_texts(value))
SETTINGS = Kind("a dict of arguments", lambda value: isinstance(value, dict))
TEMPLATE = Kind("a str with one {}", _is_template)
TRUNCATION = one_of(True, False, "longest_first", "only_first", "only_second", "do_not_truncate")
PADDING = one_of(True, False, "longest", "max_length", "do_not_pad")
ACTIVATION = one_of("sigmoid", "softmax", "none", cased=False)

#: Parameters of the pipelines, in whichever task one has them.
KINDS: Mapping[str, Kind] = {
    # how many answers, and which
    "top_k": whole(1),
    "threshold": number(),
    "function_to_apply": ACTIVATION,
    "targets": SOME_TEXTS,
    "pooling": one_of("mean", "cls"),
    "normalize": FLAG,
    "include_prompt": FLAG,
    "collapse_whitespace": FLAG,
    "candidate_labels": SOME_TEXTS,
    "hypothesis_template": TEMPLATE,
    "multi_label": FLAG,
    # how texts are read
    "truncation": TRUNCATION,
    "padding": PADDING,
    "add_special_tokens": FLAG,
    "stride": whole(0),
    "prefix": TEXT,
    "src_lang": TEXT,
    "tgt_lang": TEXT,
    # tags
    "aggregation_strategy": one_of("none", "simple", "first", "average", "max", cased=False),
    "ignore_labels": TEXTS,
    # answers to questions
    "doc_stride": whole(0),
    "max_seq_len": whole(1),
    "max_question_len": whole(1),
    "max_answer_len": whole(1),
    "handle_impossible_answer": FLAG,
    "align_to_words": FLAG,
    "sequential": FLAG,
    "lang": TEXT,
    # texts that are generated
    "return_full_text": FLAG,
    "clean_up_tokenization_spaces": FLAG,
    "skip_special_tokens": FLAG,
    "continue_final_message": FLAG,
    "stop_sequence": TEXT,
    # pictures
    "subtask": one_of("panoptic", "instance", "semantic"),
    "mask_threshold": number(),
    "overlap_mask_area_threshold": number(),
    "pool": FLAG,
    "points_per_batch": whole(1),
    "points_per_crop": whole(1),
    "crops_n_layers": whole(0),
    "crop_n_points_downscale_factor": whole(1),
    "crop_overlap_ratio": number(0, 1),
    "crops_nms_thresh": number(0, 1),
    "pred_iou_thresh": number(),
    "stability_score_thresh": number(),
    "stability_score_offset": number(),
    "max_hole_area": number(),
    "max_sprinkle_area": number(),
    "output_bboxes_mask": FLAG,
    "output_rle_mask": FLAG,
    # sounds
    "return_language": FLAG,
    "condition_on_prev_tokens": FLAG,
    "no_speech_threshold": number(),
    "compression_ratio_threshold": number(),
    "logprob_threshold": number(),
    # arguments of what is below a pipeline
    "image_processor_kwargs": SETTINGS,
    "processor_kwargs": SETTINGS,
    "preprocess_params": SETTINGS,
    "forward_params": SETTINGS,
}

#: Settings of a generation, beside those that hold tokens.
_GENERATION: Mapping[str, Kind] = {
    "max_new_tokens": whole(1, MOST_TOKENS),
    "max_length": whole(1, MOST_TOKENS),
    "min_new_tokens": whole(0, MOST_TOKENS),
    "min_length": whole(0, MOST_TOKENS),
    "num_beams": whole(1, MOST_BEAMS),
    "top_k": whole(0),
    "top_p": above(0, 1),
    "typical_p": above(0, 1),
    "temperature": above(0),
    "repetition_penalty": above(0),
    "do_sample": FLAG,
    "early_stopping": one_of(True, False, "never"),
    "use_cache": FLAG,
    "remove_invalid_values": FLAG,
    "renormalize_logits": FLAG,
    "low_memory": FLAG,
    "use_mtp": FLAG,
    "output_attentions": FLAG,
    "output_hidden_states": FLAG,
    "output_logits": FLAG,
    "output_scores": FLAG,
    "penalty_alpha": number(0, 1),
    "length_penalty": number(),
    "guidance_scale": number(),
    "diversity_penalty": number(),
    "encoder_repetition_penalty": above(0),
    "no_repeat_ngram_size": whole(0),
    "encoder_no_repeat_ngram_size": whole(0),
    "min_p": number(0, 1),
    "top_h": number(0, 1),
    "epsilon_cutoff": number(0, 1),
    "eta_cutoff": number(0, 1),
    "max_time": above(0),
    "prefill_chunk_size": whole(1),
    "stop_strings": SOME_TEXTS,
    "exponential_decay_length_penalty": Kind(
        "a list of a whole number from 0, the tokens before it begins, and a number",
        lambda value: (
            isinstance(value, list | tuple) and len(value) == 2 and whole(0).fits(value[0]) and is_number(value[1])
        ),
    ),
}


def generation_kind(name: str, vocabulary: int | None) -> Kind | None:
    """What a setting of a generation may be; None where nothing is known of it.

    Args:
        vocabulary: how many tokens the model knows; None where it does not say.
    """
    if name in ("bos_token_id", "pad_token_id", "forced_bos_token_id"):
        return token_ids(vocabulary)
    if name == "eos_token_id":  # one that never comes ends nothing
        return token_ids(None, several=True, least=-1)
    if name in ("decoder_start_token_id", "forced_eos_token_id"):
        return token_ids(vocabulary, several=True)
    if name in ("suppress_tokens", "begin_suppress_tokens"):
        return token_ids(vocabulary, several=True, lone=False)
    if name == "bad_words_ids":
        words = token_ids(vocabulary, several=True, lone=False)
        return Kind(
            f"a list of words, each {words.text}",
            lambda value: isinstance(value, list) and bool(value) and all(map(words.fits, value)),
        )
    return _GENERATION.get(name)


def check(params: Mapping[str, Any], kind_of: Callable[[str], Kind | None]) -> None:
    """Refuse what a parameter cannot be.

    Args:
        kind_of: the name of a parameter -> what it may be; None: anything.

    Raises:
        InvalidParams: names the parameter, and says what it may be.
    """
    for name, value in params.items():
        known = kind_of(name)
        if known is not None and value is not None and not known.fits(value):
            raise InvalidParams(f"params.{name}: {known.text}", field=f"params.{name}")


def of_config(error: InvalidParams) -> InvalidParams:
    """What is wrong with a parameter, said of the model's configuration, whence it came."""
    field = str(error.details.get("field", "params")).replace("params", "model_config", 1)
    return InvalidParams(error.message.replace("params", "model_config", 1), **{**error.details, "field": field})
