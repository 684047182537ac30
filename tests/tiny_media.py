"""Components of tiny models that hear, see or speak; some read labels as well."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import transformers as tf

from tests import tiny
from tests.tiny_text import SMALL, byte_pairs, labels, words

_IMAGE: dict[str, Any] = {**SMALL, "image_size": 32, "patch_size": 16, "num_channels": 3}
_WAVES: dict[str, Any] = {
    **SMALL,
    "conv_dim": (32, 32),
    "conv_kernel": (8, 8),
    "conv_stride": (8, 8),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "feat_extract_norm": "layer",
}
del _IMAGE["max_position_embeddings"], _WAVES["max_position_embeddings"]


def _letters(kind: Any, **options: Any) -> Any:
    pieces = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz'"]
    with tempfile.TemporaryDirectory() as directory:
        vocabulary = Path(directory) / "vocab.json"
        vocabulary.write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
        return kind(str(vocabulary), **options)


def speech_ctc() -> dict[str, Any]:
    tokenizer = _letters(tf.Wav2Vec2CTCTokenizer)
    config = tf.Wav2Vec2Config(vocab_size=len(tokenizer), pad_token_id=0, **_WAVES)
    return {
        "model": tf.Wav2Vec2ForCTC(config),
        "tokenizer": tokenizer,
        "feature_extractor": tf.Wav2Vec2FeatureExtractor(),
    }


def speech_whisper() -> dict[str, Any]:
    vocabulary, merges = _byte_pairs()
    tokenizer = tf.WhisperTokenizer(vocab=vocabulary, merges=merges)
    times = [f"<|{second / 50:.2f}|>" for second in range(1501)]
    tokenizer.add_tokens(["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|translate|>", "<|notimestamps|>"])
    tokenizer.add_tokens(times)
    ids = tokenizer.convert_tokens_to_ids
    config = tf.WhisperConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_target_positions=tiny.POSITIONS,
        init_std=0.4,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=ids("<|startoftranscript|>"),
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )
    model: Any = tf.WhisperForConditionalGeneration(config)
    # Another object: of the one that was made of the model's configuration only transformers' own fields are saved.
    model.generation_config = tf.GenerationConfig(
        max_length=24,
        decoder_start_token_id=config.decoder_start_token_id,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        no_timestamps_token_id=ids("<|notimestamps|>"),
        is_multilingual=False,
    )
    return {"model": model, "tokenizer": tokenizer, "feature_extractor": tf.WhisperFeatureExtractor(feature_size=80)}


def _byte_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    model = json.loads(byte_pairs().backend_tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def audio_classification() -> dict[str, Any]:
    config = tf.Wav2Vec2Config(classifier_proj_size=16, **_WAVES, **labels("yes", "no", "up", "down"))
    return {"model": tf.Wav2Vec2ForSequenceClassification(config), "feature_extractor": tf.Wav2Vec2FeatureExtractor()}


def text_to_audio() -> dict[str, Any]:
    tokenizer = _letters(tf.VitsTokenizer, phonemize=False)
    config = tf.VitsConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=16,
        flow_size=16,
        spectrogram_bins=9,
        upsample_initial_channel=16,
        upsample_rates=[4, 4],
        upsample_kernel_sizes=[8, 8],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1]],
        prior_encoder_num_flows=1,
        prior_encoder_num_wavenet_layers=1,
        duration_predictor_num_flows=1,
        use_stochastic_duration_prediction=False,
        noise_scale=0.0,  # else each call sounds another way
        noise_scale_duration=0.0,
    )
    return {"model": tf.VitsModel(config), "tokenizer": tokenizer}


def zero_shot_audio() -> dict[str, Any]:
    tokenizer = words()
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    text = {**SMALL, "vocab_size": len(tokenizer), "max_position_embeddings": tiny.POSITIONS + 1, "pad_token_id": 0}
    sound = {
        "spec_size": 64,
        "num_mel_bins": 64,
        "patch_size": 4,
        "patch_embeds_hidden_size": 8,
        "hidden_size": 16,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "window_size": 8,
        "num_hidden_layers": 2,
        "projection_dim": 16,
    }
    config = tf.ClapConfig(text_config={**text, "projection_dim": 16}, audio_config=sound, projection_dim=16)
    extractor = tf.ClapFeatureExtractor(truncation="rand_trunc", max_length_s=1, hop_length=1024)
    return {"model": tf.ClapModel(config), "tokenizer": tokenizer, "feature_extractor": extractor}


def _vit_reader() -> Any:
    return tf.ViTImageProcessorPil(size={"height": 32, "width": 32})


def image_classification() -> dict[str, Any]:
    config = tf.ViTConfig(**_IMAGE, **labels("cat", "dog", "tree"))
    return {"model": tf.ViTForImageClassification(config), "image_processor": _vit_reader()}


def image_features() -> dict[str, Any]:
    return {"model": tf.ViTModel(tf.ViTConfig(**_IMAGE)), "image_processor": _vit_reader()}


def object_detection() -> dict[str, Any]:
    config = tf.YolosConfig(**{**_IMAGE, "image_size": [32, 32]}, num_detection_tokens=4, **labels("cat", "dog"))
    reader = tf.YolosImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 32})
    return {"model": tf.YolosForObjectDetection(config), "image_processor": reader}


def image_segmentation() -> dict[str, Any]:
    config = tf.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[16, 16],
        patch_sizes=[3, 3],
        strides=[2, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        initializer_range=0.4,
        **labels("sky", "grass", "road"),
    )
    reader = tf.SegformerImageProcessorPil(size={"height": 32, "width": 32})
    return {"model": tf.SegformerForSemanticSegmentation(config), "image_processor": reader}


def depth_estimation() -> dict[str, Any]:
    config = tf.GLPNConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[16, 16],
        patch_sizes=[3, 3],
        strides=[2, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        initializer_range=0.4,
    )
    return {"model": tf.GLPNForDepthEstimation(config), "image_processor": tf.GLPNImageProcessorPil()}


def zero_shot_image() -> dict[str, Any]:
    tokenizer = words()
    text = {**SMALL, "vocab_size": len(tokenizer), "bos_token_id": 2, "eos_token_id": 3}
    config = tf.CLIPConfig(text_config=text, vision_config=_IMAGE, projection_dim=16)
    reader = tf.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return {"model": tf.CLIPModel(config), "tokenizer": tokenizer, "image_processor": reader}


def zero_shot_objects() -> dict[str, Any]:
    tokenizer = words()
    tokenizer.model_max_length = 16
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    text = {**SMALL, "vocab_size": len(tokenizer), "max_position_embeddings": 16, "bos_token_id": 2, "eos_token_id": 3}
    config = tf.OwlViTConfig(text_config=text, vision_config=_IMAGE, projection_dim=32)
    reader = tf.OwlViTImageProcessorPil(size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32})
    return {"model": tf.OwlViTForObjectDetection(config), "tokenizer": tokenizer, "image_processor": reader}


def image_text() -> dict[str, Any]:
    """A model that needs a processor: pictures stand in its texts."""
    tokenizer = words()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    special = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    config = tf.LlavaConfig(
        vision_config=tf.CLIPVisionConfig(**_IMAGE),
        text_config=tf.LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=4, **special, **SMALL),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    model: Any = tf.LlavaForConditionalGeneration(config)
    model.generation_config = tf.GenerationConfig(max_new_tokens=5, **special)
    processor = tf.LlavaProcessor(
        image_processor=tf.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
    )
    return {"model": model, "processor": processor}
