"""Tiny adapters: random weights from a fixed seed, since those that PEFT starts with change no answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig, TaskType, get_peft_model

_TARGETS = ["query", "value"]

#: Methods of a sequence classifier of BERT's kind. PEFT trains and keeps its head beside each.
METHODS: Mapping[str, Callable[[], Any]] = {
    "lora": lambda: LoraConfig(task_type=TaskType.SEQ_CLS, target_modules=_TARGETS, r=4, init_lora_weights=False),
    "dora": lambda: LoraConfig(
        task_type=TaskType.SEQ_CLS, target_modules=_TARGETS, r=4, use_dora=True, init_lora_weights=False
    ),
    "lora without a head": lambda: LoraConfig(target_modules=_TARGETS, r=4, init_lora_weights=False),
    "lora with a module": lambda: LoraConfig(
        task_type=TaskType.SEQ_CLS,
        target_modules=_TARGETS,
        r=4,
        init_lora_weights=False,
        modules_to_save=["bert.pooler.dense"],
    ),
    "ia3": lambda: IA3Config(
        task_type=TaskType.SEQ_CLS,
        target_modules=["key", "value", "output.dense"],
        feedforward_modules=["output.dense"],
        init_ia3_weights=False,
    ),
    "prompt tuning": lambda: PromptTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=4),
    "prefix tuning": lambda: PrefixTuningConfig(task_type=TaskType.SEQ_CLS, num_virtual_tokens=4),
}


def adapt(base: Any, method: str = "lora", name: str = "default") -> PeftModel:
    """A model with one adapter, in evaluation mode; everything that the method trains has been moved.

    Args:
        name: of the adapter.
    """
    torch.manual_seed(11)
    model: Any = get_peft_model(base, METHODS[method](), adapter_name=name)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    found: PeftModel = model.eval()
    return found
