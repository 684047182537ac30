"""Tiny adapters over the tiny text classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from peft import IA3Config, LoraConfig, PromptTuningConfig, get_peft_model

TASK = "text-classification"
#: Their weights are random: those that PEFT starts with change no answer.
METHODS: dict[str, Callable[[], Any]] = {
    "lora": lambda: LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"], r=4, init_lora_weights=False),
    "ia3": lambda: IA3Config(
        task_type="SEQ_CLS",
        target_modules=["key", "value", "intermediate.dense"],
        feedforward_modules=["intermediate.dense"],
        init_ia3_weights=False,
    ),
    "prompt": lambda: PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4),
}


def adapted(base: Any, method: str, **labels: Any) -> Any:
    """A pipeline over an adapter that changes its base's answers.

    Args:
        labels: of the configuration, over what the base has.
    """
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, **labels)
    torch.manual_seed(11)
    return over(get_peft_model(model, METHODS[method]()).eval(), tokenizer)


def over(model: Any, tokenizer: Any) -> Any:
    return transformers.pipeline(TASK, model=model, tokenizer=tokenizer, device="cpu")
