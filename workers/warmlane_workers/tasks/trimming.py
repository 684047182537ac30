"""How a generated text is trimmed: the guide's `include_prompt` and `collapse_whitespace`. Knows texts only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Parameters that are no pipeline's, with what they are by default.
TRIMMING: Mapping[str, bool] = {"include_prompt": True, "collapse_whitespace": False}
#: The pipeline whose texts begin with their instruction; a model keeps the name of the class that it was saved from.
INSTRUCTIONAL = "InstructionTextGenerationPipeline"
#: What stands between an instruction and its answer, and what an answer may begin with.
_BETWEEN, _ANSWER = "\n\n", "A:"


def split(params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters without those of trimming, and those."""
    rest = {name: value for name, value in params.items() if name not in TRIMMING}
    return rest, {name: value for name, value in params.items() if name in TRIMMING}


def trimmed(text: str, prompt: object, *, include_prompt: bool = True, collapse_whitespace: bool = False) -> str:
    """A text as the guide trims it.

    Args:
        prompt: left out, with the blank line behind it and a leading "A:", unless `include_prompt`. A text that does
            not begin so keeps its beginning.
        collapse_whitespace: each run of spaces and line ends becomes a space.
    """
    if not include_prompt and isinstance(prompt, str) and text.startswith(prompt + _BETWEEN):
        text = text[len(prompt + _BETWEEN) :].lstrip().removeprefix(_ANSWER).lstrip()
    return re.sub(r"\s+", " ", text).strip() if collapse_whitespace else text
