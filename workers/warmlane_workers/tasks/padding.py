"""How the texts of a model may be padded to share a batch without changing any answer. Knows models, not tasks."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from transformers.pipelines.base import pad_collate_fn

from warmlane_workers.tasks.base import Prepared
from warmlane_workers.tasks.limits import POSITION_TABLES, stretches


def side(model: Any, tokenizer: Any) -> str:
    """Where padding goes: behind each text where a table has its positions, for they are counted from a batch's first
    column; else where the tokenizer puts it, as XLNet needs it before."""
    tables = (module for name, module in model.named_modules() if name.endswith(POSITION_TABLES))
    counted = any(isinstance(table, torch.nn.Embedding) for table in tables)
    return "right" if counted else str(tokenizer.padding_side)


def collator(tokenizer: Any, place: str) -> Any:
    """Several dicts of tensors -> one, padded at that side; None where the tokenizer has nothing to pad with."""
    if tokenizer.pad_token_id is None:
        return None
    # A copy of the two that are looked at: the tokenizer's own side says in which order a question and a context go.
    looked_at = SimpleNamespace(pad_token_id=tokenizer.pad_token_id, padding_side=place)
    return pad_collate_fn(looked_at, None)  # type: ignore[no-untyped-call]


def shows(model: Any) -> bool:
    """Whether a model sees padding whatever a mask says: it takes none, or a convolution reaches beyond a text, or
    padding is counted as the length that its positions go by."""
    known = inspect.signature(model.forward).parameters.values()
    masked = any(spec.name == "attention_mask" or spec.kind is inspect.Parameter.VAR_POSITIONAL for spec in known)
    kinds = (torch.nn.Conv1d, torch.nn.Conv2d)
    return (
        not masked
        or stretches(model)
        or any(max(part.kernel_size) > 1 for part in model.modules() if isinstance(part, kinds))
    )


def hidden(batch: Sequence[Prepared]) -> bool:
    """Whether a mask will hide padding; some tokenizers make none."""
    return all("attention_mask" in part.inputs for part in batch)
