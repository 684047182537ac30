"""Tiny models of the families that differ in how a batch could change an answer: segments, positions, padding sides.

Random weights, drawn wide; the seed is the caller's. `tests.tiny_native` and `tests.tiny_seq2seq` have the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import transformers as tf

from tests import tiny, tiny_seq2seq
from tests.tiny_text import SMALL, byte_pairs, labels, words

Parts = dict[str, Any]
_THREE = labels("contradiction", "neutral", "entailment")
_DISTIL: Parts = {
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 64,
    "max_position_embeddings": tiny.POSITIONS,
    "initializer_range": 0.4,
}
_HALVES: Parts = {
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


def _limited(tokenizer: Any) -> Any:
    tokenizer.model_max_length = tiny.POSITIONS
    return tokenizer


def bert(kind: Any, **config: Any) -> Parts:
    """With the tokenizer of its family, which tells the segments of a pair."""
    tokenizer = _limited(tf.BertTokenizer(vocab=words().get_vocab()))  # type: ignore[no-untyped-call]
    return {"model": kind(tf.BertConfig(vocab_size=len(tokenizer), **SMALL, **config)), "tokenizer": tokenizer}


def distilbert(kind: Any, **config: Any) -> Parts:
    tokenizer = words()
    model = kind(tf.DistilBertConfig(vocab_size=len(tokenizer), pad_token_id=0, **_DISTIL, **config))
    return {"model": model, "tokenizer": tokenizer}


def roberta(kind: Any, **config: Any) -> Parts:
    """Byte pairs; its positions begin after that of the padding token."""
    tokenizer = _roberta_tokenizer()
    pad = tokenizer.pad_token_id
    small = {**SMALL, "max_position_embeddings": tiny.POSITIONS + pad + 1, "type_vocab_size": 1}
    model = kind(tf.RobertaConfig(vocab_size=len(tokenizer), pad_token_id=pad, **small, **config))
    return {"model": model, "tokenizer": tokenizer}


def _roberta_tokenizer() -> Any:
    made = json.loads(byte_pairs().backend_tokenizer.to_str())["model"]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *made["vocab"], "<mask>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    merges = [tuple(pair) for pair in made["merges"]]
    return _limited(tf.RobertaTokenizer(vocab=vocabulary, merges=merges))  # type: ignore[no-untyped-call]


def mpnet() -> Parts:
    """Positions relative to each other, and absolute ones after that of the padding token, which is 1 by definition."""
    pieces = ["<s>", "<pad>", "</s>", *words().get_vocab(), "<mask>"]
    tokenizer = _limited(tf.MPNetTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}))  # type: ignore[no-untyped-call]
    small = {**SMALL, "max_position_embeddings": tiny.POSITIONS + 2}
    model = tf.MPNetModel(tf.MPNetConfig(vocab_size=len(tokenizer), pad_token_id=1, **small))
    return {"model": model, "tokenizer": tokenizer}


def convbert() -> Parts:
    """Sees the neighbours of a token through a convolution."""
    tokenizer = words()
    config = tf.ConvBertConfig(vocab_size=len(tokenizer), embedding_size=32, conv_kernel_size=3, **SMALL)
    return {"model": tf.ConvBertModel(config), "tokenizer": tokenizer}


def fnet() -> Parts:
    """Mixes all tokens of a text, and takes no mask that would hide padding."""
    tokenizer = words()
    tokenizer.model_input_names = ["input_ids"]
    small = {name: value for name, value in SMALL.items() if name != "num_attention_heads"}
    config = tf.FNetConfig(vocab_size=len(tokenizer), tpu_short_seq_length=tiny.POSITIONS, **small)
    return {"model": tf.FNetModel(config), "tokenizer": tokenizer}


def bart(kind: Any, **config: Any) -> Parts:
    """A classifier of this kind reads its answer off the last end token."""
    tokenizer = words()
    tokens = {"bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 3, "pad_token_id": 0}
    return {
        "model": kind(tf.BartConfig(vocab_size=len(tokenizer), **_HALVES, **tokens, **config)),
        "tokenizer": tokenizer,
    }


def gpt2(kind: Any, *, pad: int | None = None, **config: Any) -> Parts:
    """Without a padding token; a classifier of this kind reads its answer off the last token that is not padding."""
    tokenizer = _limited(byte_pairs())
    small = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": tiny.POSITIONS, "initializer_range": 0.4}
    model = kind(
        tf.GPT2Config(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, pad_token_id=pad, **small, **config)
    )
    return {"model": model, "tokenizer": tokenizer}


def _decoder(kind: Any, config: Any, **options: Any) -> Parts:
    tokenizer = byte_pairs()
    tokens = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
    return {"model": kind(config(vocab_size=len(tokenizer), **tokens, **options)), "tokenizer": tokenizer}


def llama() -> Parts:
    """Rotary positions."""
    return _decoder(tf.LlamaForCausalLM, tf.LlamaConfig, num_key_value_heads=2, **SMALL)


def mistral() -> Parts:
    """Each token sees those just before it only."""
    return _decoder(tf.MistralForCausalLM, tf.MistralConfig, num_key_value_heads=2, sliding_window=8, **SMALL)


def opt() -> Parts:
    """Positions counted from the attention mask."""
    sizes = {"ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.4, "max_position_embeddings": tiny.POSITIONS}
    small = {name: SMALL[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    return _decoder(tf.OPTForCausalLM, tf.OPTConfig, **sizes, **small)


def bloom() -> Parts:
    """Distances instead of positions."""
    return _decoder(tf.BloomForCausalLM, tf.BloomConfig, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.4)


def of_pair(make: Callable[[], tuple[Any, Any]]) -> Callable[[], Parts]:
    """A maker of `tests.tiny_seq2seq` as one of components."""

    def parts() -> Parts:
        model, tokenizer = make()
        return {"model": model, "tokenizer": _limited(tokenizer)}

    return parts


def from_the_left(make: Callable[[], Parts]) -> Callable[[], Parts]:
    """With a tokenizer that pads before a text."""

    def parts() -> Parts:
        made = make()
        made["tokenizer"].padding_side = made["tokenizer"].init_kwargs["padding_side"] = "left"  # the second is saved
        return made

    return parts


def marian() -> Parts:
    """Sine positions; the output starts with the padding token."""
    tokenizer = words()
    tokens = {"eos_token_id": 3, "decoder_start_token_id": 0, "pad_token_id": 0, "forced_eos_token_id": 3}
    model: Any = tf.MarianMTModel(tf.MarianConfig(vocab_size=len(tokenizer), **_HALVES, **tokens))
    model.generation_config.num_beams, model.generation_config.max_length = 2, 12
    return {"model": model, "tokenizer": tokenizer}


t5, bart_writer, mbart = map(of_pair, (tiny_seq2seq.t5, tiny_seq2seq.bart, tiny_seq2seq.mbart))
reader, chatter = map(of_pair, (tiny_seq2seq.reader, tiny_seq2seq.chatter))


def resnet() -> Parts:
    """Normalised by the statistics of its training, not of the batch; pictures keep their shape up to the crop."""
    config = tf.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **labels("cat", "dog", "tree")
    )
    reader = tf.ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.875)
    return {"model": tf.ResNetForImageClassification(config), "image_processor": reader}


def sound_spectrum() -> Parts:
    """Sees a sound as a picture of fixed size."""
    config = tf.ASTConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        patch_size=16,
        max_length=64,
        num_mel_bins=32,
        initializer_range=0.4,
        **labels("yes", "no", "up"),
    )
    reader = tf.ASTFeatureExtractor(max_length=64, num_mel_bins=32)
    return {"model": tf.ASTForAudioClassification(config), "feature_extractor": reader}


NLI = _THREE
