"""Components of tiny models that match two pictures, see films, or cut pictures up."""

from __future__ import annotations

from typing import Any

import transformers as tf

from tests.tiny_text import labels


def keypoints() -> dict[str, Any]:
    """Finds the points of two pictures that are the same."""
    finder = tf.SuperPointConfig(
        encoder_hidden_sizes=[8, 8, 8, 8],
        decoder_hidden_size=16,
        descriptor_decoder_dim=16,
        keypoint_threshold=0.0,
        max_keypoints=16,
    )
    config = tf.SuperGlueConfig(
        keypoint_detector_config=finder,
        hidden_size=16,
        keypoint_encoder_sizes=[8, 16],
        gnn_layers_types=["self", "cross"],
        num_attention_heads=2,
        sinkhorn_iterations=3,
    )
    reader = tf.SuperGlueImageProcessorPil(size={"height": 32, "width": 32})
    return {"model": tf.SuperGlueForKeypointMatching(config), "image_processor": reader}


def video() -> dict[str, Any]:
    """Sees four frames of a film."""
    config = tf.VideoMAEConfig(
        image_size=16,
        patch_size=8,
        num_frames=4,
        tubelet_size=2,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        initializer_range=0.4,
        **labels("run", "sit", "eat"),
    )
    reader = tf.VideoMAEImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    return {"model": tf.VideoMAEForVideoClassification(config), "image_processor": reader}


def masks() -> dict[str, Any]:
    """Cuts a picture into whatever is in it."""
    seeing = tf.SamVisionConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        output_channels=16,
        mlp_dim=16,
        window_size=2,
        global_attn_indexes=[0],
        num_pos_feats=8,
    )
    asking = tf.SamPromptEncoderConfig(hidden_size=16, image_size=32, patch_size=8, mask_input_channels=4)
    cutting = tf.SamMaskDecoderConfig(
        hidden_size=16,
        mlp_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        iou_head_hidden_dim=16,
        iou_head_depth=2,
    )
    config = tf.SamConfig(
        vision_config=seeing.to_dict(), prompt_encoder_config=asking.to_dict(), mask_decoder_config=cutting.to_dict()
    )
    reader = tf.SamImageProcessorPil(
        size={"longest_edge": 32},
        mask_size={"longest_edge": 32},
        pad_size={"height": 32, "width": 32},
        mask_pad_size={"height": 32, "width": 32},
    )
    return {"model": tf.SamModel(config), "image_processor": reader}
