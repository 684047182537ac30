"""Tiny models for the tasks that transformers 5 has no pipelines for: random weights from a fixed seed, drawn wide.

Made in memory, each with its tokenizer; `tests.tiny` has the tokenizers and the rest.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForQuestionAnswering,
    GPT2Config,
    GPT2LMHeadModel,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
    T5Config,
    T5ForConditionalGeneration,
)

from tests import tiny

#: What the T5 has for tasks by name, as the checkpoints of that family do.
TASK_PARAMS = {
    "summarization": {"prefix": "good : ", "max_length": 9, "num_beams": 2},
    "translation_en_to_fr": {"prefix": "bad : ", "max_length": 7},
}


def t5() -> tuple[Any, Any]:
    """Reads texts between [CLS] and [SEP]; its configuration has parameters for two tasks."""
    tokenizer = tiny.word_tokenizer()
    torch.manual_seed(7)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        initializer_factor=4.0,
        pad_token_id=0,
        eos_token_id=3,
        decoder_start_token_id=0,
        task_specific_params=TASK_PARAMS,
    )
    return T5ForConditionalGeneration(config).eval(), tokenizer


def bart() -> tuple[Any, Any]:
    """Starts its output with the token that also ends it."""
    tokenizer = tiny.word_tokenizer()
    torch.manual_seed(7)
    tokens = {"bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3, "pad_token_id": 0}
    config = BartConfig(vocab_size=len(tokenizer), **_HALVES, **tokens, forced_eos_token_id=3)
    return BartForConditionalGeneration(config).eval(), tokenizer


def mbart() -> tuple[Any, Any]:
    """Of many languages: the output starts with the code of its own."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *_WORDS]
    tokenizer = MBartTokenizer(vocab=[(piece, -1.0) for piece in dict.fromkeys(pieces)])  # type: ignore[no-untyped-call]
    torch.manual_seed(7)
    config = MBartConfig(vocab_size=len(tokenizer), **_HALVES)
    return MBartForConditionalGeneration(config).eval(), tokenizer


def reader() -> tuple[Any, Any]:
    """Answers questions by a part of a context."""
    tokenizer = tiny.word_tokenizer()
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=tiny.POSITIONS,
        initializer_range=0.4,
    )
    return BertForQuestionAnswering(config).eval(), tokenizer


def chatter() -> tuple[Any, Any]:
    """A decoder with room for a few turns; its tokenizer has neither a chat template nor a padding token."""
    tokenizer = tiny.byte_tokenizer()
    torch.manual_seed(7)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=512,
        initializer_range=0.4,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config).eval(), tokenizer


_WORDS = tuple(f"▁{word}" for word in ("the", "a", "cat", "dog", "bird", "sat", "ran", "red", "blue", "good", "bad"))
_HALVES: dict[str, Any] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": tiny.POSITIONS,
    "init_std": 0.4,
}
