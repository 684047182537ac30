"""The task that a checkpoint's class serves, where neither the caller nor its card says it."""

from __future__ import annotations

import pytest

from warmlane_workers.flavor.architectures import infer_task

KNOWN = [
    ("BertForSequenceClassification", "bert", "text-classification"),
    ("Wav2Vec2ForSequenceClassification", "wav2vec2", "audio-classification"),
    ("BertForQuestionAnswering", "bert", "question-answering"),
    ("TapasForQuestionAnswering", "tapas", "table-question-answering"),
    ("LayoutLMv3ForQuestionAnswering", "layoutlmv3", "document-question-answering"),
    ("GPT2LMHeadModel", "gpt2", "text-generation"),
    ("BertForMaskedLM", "bert", "fill-mask"),
    ("T5ForConditionalGeneration", "t5", "text2text-generation"),
    ("BartForConditionalGeneration", "bart", "text2text-generation"),
    ("PegasusForConditionalGeneration", "pegasus", "summarization"),
    ("MarianMTModel", "marian", "translation"),
    ("WhisperForConditionalGeneration", "whisper", "automatic-speech-recognition"),
    ("VitsModel", "vits", "text-to-audio"),
    ("BertModel", "bert", "feature-extraction"),
    ("ViTModel", "vit", "image-feature-extraction"),
    ("CLIPModel", "clip", "zero-shot-image-classification"),
    ("ClapModel", "clap", "zero-shot-audio-classification"),
    ("SamModel", "sam", "mask-generation"),
    ("Owlv2ForObjectDetection", "owlv2", "zero-shot-object-detection"),
    ("LlavaForConditionalGeneration", "llava", "image-text-to-text"),
    ("Gemma3ForConditionalGeneration", "gemma3", "image-text-to-text"),
    ("SegformerForSemanticSegmentation", "segformer", "image-segmentation"),
    ("VideoMAEForVideoClassification", "videomae", "video-classification"),
]


@pytest.mark.parametrize(("architecture", "kind", "task"), KNOWN)
def test_a_class_of_transformers_has_its_task(architecture: str, kind: str, task: str) -> None:
    """The library's own tables tell it, not the end of a name: a model of sound is no classifier of texts."""
    assert infer_task({"architectures": [architecture], "model_type": kind}) == task


@pytest.mark.parametrize(
    ("architecture", "task"),
    [("MineForSequenceClassification", "text-classification"), ("MineForCausalLM", "text-generation")],
)
def test_a_class_of_ones_own_has_the_task_that_its_name_says(architecture: str, task: str) -> None:
    """No table knows it; its name follows those of the library."""
    assert infer_task({"architectures": [architecture], "model_type": "mine"}) == task


@pytest.mark.parametrize("architectures", [None, [], ["BertForMultipleChoice"], "BertModel", 17])
def test_what_tells_no_task_has_none(architectures: object) -> None:
    """A class that no pipeline takes, no class, or no list of classes: the caller is asked."""
    assert infer_task({"architectures": architectures, "model_type": "bert"}) is None
