"""Segments: which of a pair's two texts a token is of. Knows tokenizers and models, no task.

transformers 5 leaves them to the tokenizer's class, and its plain class names none. The plain class of transformers 4
named them: its models were trained with segments, and answer pairs differently without.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAME = "token_type_ids"
#: The plain class of transformers 4, as its files name it; transformers 5 writes another name.
_PLAIN = "PreTrainedTokenizerFast"


def reads(config: Any) -> bool:
    """Whether a model with this configuration tells segments apart."""
    return (getattr(config, "type_vocab_size", None) or 0) > 1


def restore(tokenizer: Any, stored: Path, model: Path) -> None:
    """Let a tokenizer name segments again, where transformers 4 wrote it and its model reads them.

    Args:
        stored: the directory of its files.
        model: that of its model's `config.json`.
    """
    own, config = _json(stored / "tokenizer_config.json"), _json(model / "config.json")
    plain = own.get("tokenizer_class") == _PLAIN and "model_input_names" not in own
    if plain and (config.get("type_vocab_size") or 0) > 1 and NAME not in tokenizer.model_input_names:
        names = [*tokenizer.model_input_names, NAME]
        tokenizer.model_input_names = names
        tokenizer.init_kwargs["model_input_names"] = names  # which are saved with it


def _json(file: Path) -> dict[str, Any]:
    """A file's JSON object; an absent file says nothing."""
    if not file.is_file():
        return {}
    found = json.loads(file.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}
