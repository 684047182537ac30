"""Tiny models for tests: random weights from a fixed seed, a tokenizer made on the spot, files as the hub has them.

The weights are drawn wide, so that different texts get clearly different answers: no greedy choice hangs on rounding.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

#: Most tokens that a tiny model reads.
POSITIONS = 64
WORDS = tuple(
    "the a cat dog bird tree river stone sat ran saw ate made took small big old new red blue good bad very quite "  # noqa: SIM905 - sixty quotes
    "and or but then never always on in under over with without house road night morning great awful film book".split()
)


def texts(count: int, longest: int = 40, seed: int = 0) -> list[str]:
    """Texts of 1 to `longest` words, most of them short."""
    pick = random.Random(seed)
    return [" ".join(pick.choices(WORDS, k=1 + int((longest - 1) * pick.random() ** 3))) for _ in range(count)]


def word_tokenizer() -> PreTrainedTokenizerFast:
    """As BERT has one: word pieces between [CLS] and [SEP], pairs with segments, a padding token."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    letters = [mark + letter for letter in string.ascii_lowercase for mark in ("", "##")]
    # Given and not trained: the trainer numbers pieces of equal count by chance.
    pieces = dict.fromkeys((*special, *WORDS, *letters, *string.punctuation))
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.decoder = decoders.WordPiece()
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)  # type: ignore[no-untyped-call]


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """As GPT-2 has one: byte pairs, an end-of-text token, no padding token, nothing added to a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts(200), trainer)
    tokenizer.decoder = decoders.ByteLevel()
    names = {"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)  # type: ignore[no-untyped-call]


_SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.4,
}


def _classifier(vocabulary: int) -> PreTrainedModel:
    labels = {0: "bad", 1: "fair", 2: "good"}
    config = BertConfig(vocab_size=vocabulary, id2label=labels, label2id={v: k for k, v in labels.items()}, **_SMALL)
    return BertForSequenceClassification(config)


def _encoder(vocabulary: int) -> PreTrainedModel:
    return BertModel(BertConfig(vocab_size=vocabulary, **_SMALL))


def _roberta(vocabulary: int) -> PreTrainedModel:
    # Its first position stands for padding.
    small = {**_SMALL, "max_position_embeddings": POSITIONS + 1, "pad_token_id": 0, "num_labels": 3}
    return RobertaForSequenceClassification(RobertaConfig(vocab_size=vocabulary, **small))


def _gpt2(vocabulary: int) -> PreTrainedModel:
    config = GPT2Config(
        vocab_size=vocabulary,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=POSITIONS,
        initializer_range=0.4,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config)


def _llama(vocabulary: int) -> PreTrainedModel:
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=vocabulary, num_key_value_heads=4, bos_token_id=0, eos_token_id=0, **_SMALL)
    )


_KINDS: Mapping[str, tuple[Callable[[], PreTrainedTokenizerFast], Callable[[int], PreTrainedModel]]] = {
    "text-classification": (word_tokenizer, _classifier),
    "feature-extraction": (word_tokenizer, _encoder),
    "text-generation": (byte_tokenizer, _gpt2),
    "roberta": (word_tokenizer, _roberta),
    "llama": (byte_tokenizer, _llama),
}
#: The tasks whose tiny model is called by their name.
TASKS = ("text-classification", "feature-extraction", "text-generation")


def save(kind: str, directory: Path, dtype: torch.dtype = torch.float32) -> Path:
    """Write a checkpoint: configuration, safetensors weights, tokenizer, card and licence."""
    make_tokenizer, make_model = _KINDS[kind]
    tokenizer = make_tokenizer()
    torch.manual_seed(7)
    model: Any = make_model(len(tokenizer))
    model.to(dtype).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    (directory / "README.md").write_text("---\nlicense: mit\n---\n# A tiny model\n")
    (directory / "LICENSE").write_text("Do as you like.\n")
    return directory


def tokenizer(directory: Path) -> Any:
    return AutoTokenizer.from_pretrained(directory)
