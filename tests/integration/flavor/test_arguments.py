"""What a pipeline was constructed with survives a save and a load. MLflow drops it, so that the answers change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers import BertConfig, BertForTokenClassification, GenerationConfig, TextStreamer

from tests import tiny
from tests.artifacts import TEXT, bare, conf, refused, rewrite
from warmlane.errors import ArtifactTooNew, SaveRefused
from warmlane_workers.flavor import load_model, save_model

CLASSIFIER, WRITER = "text-classification", "text-generation"


def limited(tokens: int) -> Any:
    """A generation configuration."""
    made: Any = GenerationConfig
    return made(max_new_tokens=tokens, eos_token_id=0, pad_token_id=0)


def built(checkpoint: Path, task: str, **arguments: Any) -> Any:
    """A pipeline that was constructed with arguments."""
    pipe = bare(task, checkpoint)
    pipeline: Any = transformers.pipeline
    return pipeline(task, model=pipe.model, tokenizer=pipe.tokenizer, device="cpu", **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"top_k": 2},
        {"top_k": None},
        {"function_to_apply": "sigmoid"},
        {"function_to_apply": "none", "top_k": 3},
        {"truncation": True, "max_length": 4},
        {"padding": "max_length", "max_length": 20, "truncation": True},
    ],
    ids=str,
)
def test_a_classifier_keeps_its_arguments(
    checkpoints: dict[str, Path], target: Path, arguments: dict[str, Any]
) -> None:
    """Those of its constructor apply to every call of the loaded pipeline, as they did before."""
    pipe = built(checkpoints[CLASSIFIER], CLASSIFIER, **arguments)
    save_model(pipe, target)
    assert load_model(target)(TEXT) == pipe(TEXT)
    assert load_model(target)([TEXT, "good"]) == pipe([TEXT, "good"])


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_new_tokens": 3},
        {"max_new_tokens": 3, "return_full_text": False},
        {"max_new_tokens": 4, "num_beams": 2, "num_return_sequences": 2},
        {"generation_config": limited(5)},
        {"max_new_tokens": 3, "prefix": "a good "},
        {"max_new_tokens": 20, "stop_sequence": " the"},
    ],
    ids=lambda arguments: "-".join(arguments),
)
def test_a_language_model_keeps_its_arguments(
    checkpoints: dict[str, Path], target: Path, arguments: dict[str, Any]
) -> None:
    """Lengths, beams, what is returned, and a whole generation configuration."""
    pipe = built(checkpoints[WRITER], WRITER, do_sample=False, **arguments)
    save_model(pipe, target)
    assert load_model(target)(TEXT) == pipe(TEXT)


@pytest.mark.parametrize("strategy", ["simple", "first", "max"])
def test_an_aggregation_strategy_is_kept(
    checkpoints: dict[str, Path], tokenizer: Any, target: Path, strategy: str
) -> None:
    """It is an enumeration in the pipeline, and its name in the file."""
    small: Any = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=tiny.POSITIONS, **small)
    transformers.set_seed(5)
    pipeline: Any = transformers.pipeline
    model: Any = BertForTokenClassification(config)
    model.eval()
    pipe = pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy=strategy)
    save_model(pipe, target)
    assert {"entity_group"} <= set(load_model(target)(TEXT)[0])
    assert load_model(target)(TEXT) == pipe(TEXT)


def test_a_batch_size_is_kept(checkpoints: dict[str, Path], target: Path) -> None:
    """It is no argument of a step, and kept all the same."""
    save_model(built(checkpoints[CLASSIFIER], CLASSIFIER, batch_size=8), target)
    assert load_model(target)._batch_size == 8


def test_a_pipeline_without_arguments_records_none(checkpoints: dict[str, Path], target: Path) -> None:
    """What is a default may change with transformers, so it is left to it."""
    save_model(bare(CLASSIFIER, checkpoints[CLASSIFIER]), target)
    assert "pipeline" not in conf(target)["warmlane"]


def test_the_arguments_are_under_warmlanes_own_key(checkpoints: dict[str, Path], target: Path) -> None:
    """MLflow ignores that key, and would stumble over one that it does not know."""
    save_model(built(checkpoints[CLASSIFIER], CLASSIFIER, top_k=2), target)
    plain = {key for key in conf(target) if key != "warmlane"}
    assert conf(target)["warmlane"]["pipeline"] == {"postprocess": {"top_k": 2, "_legacy": False}}
    save_model(bare(CLASSIFIER, checkpoints[CLASSIFIER]), target.with_name("without"))
    assert plain == {key for key in conf(target.with_name("without")) if key != "warmlane"}


def test_arguments_of_the_load_win(checkpoints: dict[str, Path], target: Path) -> None:
    """The record fills in what the load does not say."""
    save_model(built(checkpoints[WRITER], WRITER, do_sample=False, max_new_tokens=3, return_full_text=False), target)
    expected = built(checkpoints[WRITER], WRITER, do_sample=False, max_new_tokens=6, return_full_text=False)
    assert load_model(target, max_new_tokens=6)(TEXT) == expected(TEXT)


def test_arguments_of_a_call_win(checkpoints: dict[str, Path], target: Path) -> None:
    """As they do over those of a constructor."""
    pipe = built(checkpoints[CLASSIFIER], CLASSIFIER, top_k=2)
    save_model(pipe, target)
    assert load_model(target)(TEXT, top_k=1) == pipe(TEXT, top_k=1)


def test_arguments_survive_a_second_save(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """A loaded pipeline has them as the first had."""
    pipe = built(checkpoints[CLASSIFIER], CLASSIFIER, top_k=2, function_to_apply="sigmoid")
    save_model(pipe, tmp_path / "one")
    save_model(load_model(tmp_path / "one"), tmp_path / "two")
    assert conf(tmp_path / "two")["warmlane"]["pipeline"] == conf(tmp_path / "one")["warmlane"]["pipeline"]
    assert load_model(tmp_path / "two")(TEXT) == pipe(TEXT)


def test_the_pipeline_in_memory_is_left_as_it_was(checkpoints: dict[str, Path], target: Path) -> None:
    """A save reads it and changes nothing."""
    pipe = built(checkpoints[WRITER], WRITER, do_sample=False, max_new_tokens=3)
    before = pipe(TEXT)
    save_model(pipe, target)
    assert pipe(TEXT) == before


def test_an_argument_that_is_no_data_is_refused(checkpoints: dict[str, Path], target: Path) -> None:
    """An object that lives in this process cannot be kept; the argument is named, and what to do."""
    pipe = built(
        checkpoints[WRITER], WRITER, max_new_tokens=3, streamer=TextStreamer(tiny.tokenizer(checkpoints[WRITER]))
    )
    refused(SaveRefused, "'.*streamer' is a TextStreamer.*pass it at each call", pipe, target)


def test_a_second_model_is_refused(checkpoints: dict[str, Path], target: Path) -> None:
    """An artifact has one model."""
    assistant = bare(WRITER, checkpoints[WRITER]).model
    pipe = built(checkpoints[WRITER], WRITER, assistant_model=assistant)
    refused(SaveRefused, "assistant model", pipe, target)


@pytest.mark.parametrize("name", ["NoSuchEnum.SIMPLE", "os.system", "AggregationStrategy.", "Path.home"])
def test_a_record_names_enumerations_and_nothing_else(broken: Path, name: str) -> None:
    """Whatever text stands in an artifact, it chooses a member of an enumeration of the pipeline's, or is refused."""
    own = {**conf(broken)["warmlane"], "pipeline": {"postprocess": {"strategy": {"__enum__": name}}}}
    with pytest.raises(ArtifactTooNew, match="upgrade"):
        load_model(rewrite(broken, warmlane=own))
