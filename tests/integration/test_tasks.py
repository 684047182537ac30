"""Predict, in process: whatever shares a batch, an answer is the one that the bare pipeline gives to its row alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import transformers

from tests import tiny
from tests.artifacts import rewrite
from tests.fleet import minilm
from warmlane.errors import ArtifactError, InputTooLong, InvalidParams, SchemaError, SourceIncomplete
from warmlane.jobs import LoadJob, PredictJob
from warmlane.results import Table
from warmlane_workers.context import JobContext
from warmlane_workers.engine import device
from warmlane_workers.engine.engine import Engine
from warmlane_workers.flavor import save_model
from warmlane_workers.modelstore import ModelStore

#: Answers in fp32 may differ by so much between a batch and a row alone.
TOLERANCE = 1e-4
GREEDY: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False}
#: A token that the tokenizer of one model knows and its weights do not: such a row fails on the device.
BOOM = "[BOOM]"


class Records:
    """A store that nobody reads: jobs report into it and are never cancelled."""

    def run(self, op: Any) -> bool:
        return False


class Lane:
    """An engine over saved models, and the bare pipelines of the same checkpoints."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = ModelStore(root / "store")
        self.checkpoints: dict[str, Path] = {}
        self.engine = Engine(
            self.store, device.find("cpu"), source_roots=(), trust_remote_code=False, on_change=lambda: None
        )
        self._bare: dict[str, Any] = {}

    def add(self, name: str, checkpoint: Path, task: str) -> None:
        self.checkpoints[name] = checkpoint
        self.store.publish(name, lambda directory: save_model(checkpoint, directory, task=task))

    def bare(self, name: str, task: str) -> Any:
        if name not in self._bare:
            pipeline: Any = transformers.pipeline
            self._bare[name] = pipeline(task, model=str(self.checkpoints[name]), device="cpu")
        return self._bare[name]

    def predict(self, name: str, inputs: Any, dtype: str | None = None, **params: Any) -> Any:
        job = PredictJob(model=name, inputs=inputs, params=params, dtype=dtype)
        return self.engine.predict(job, JobContext(Records(), "0" * 32, 1))  # type: ignore[arg-type]

    def predict_at_once(self, name: str, jobs: Sequence[Any], **params: Any) -> list[Any]:
        """The jobs' results, in their order; all are sent together. An error stands for the result of its job."""

        def run(inputs: Any) -> Any:
            try:
                return self.predict(name, inputs, **params)
            except Exception as exc:  # noqa: BLE001 - whatever it is, it is what the job came to
                return exc

        with ThreadPoolExecutor(32) as pool:
            return list(pool.map(run, jobs))


def boom(checkpoint: Path) -> Path:
    """Teach a checkpoint's tokenizer, and not its model, one more token."""
    tokenizer = tiny.tokenizer(checkpoint)
    tokenizer.add_tokens([BOOM])
    tokenizer.save_pretrained(checkpoint)
    return checkpoint


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    root = tmp_path_factory.mktemp("lane")
    made = Lane(root)
    for task in tiny.TASKS:
        made.add(task, tiny.save(task, root / task), task)
    made.add("roberta", tiny.save("roberta", root / "roberta"), "text-classification")
    made.add("llama", tiny.save("llama", root / "llama"), "text-generation")
    made.add("boom", boom(tiny.save("text-classification", root / "boom")), "text-classification")
    made.add("minilm", minilm(), "feature-extraction")
    made.engine.start()
    yield made
    made.engine.stop(60)


def mixed(rows: Sequence[Any]) -> list[Any]:
    """Rows as jobs: the first half one by one, the rest in four lists, so that batches form within and across jobs."""
    half, step = len(rows) // 2, len(rows) // 8
    lists = [list(rows[start : start + step]) for start in range(half, len(rows), step)]
    return [[row] for row in rows[:half]] + lists


def raised(results: Sequence[Any]) -> list[Any]:
    for result in results:
        if isinstance(result, Exception):
            raise result
    return list(results)


def classified(tables: Sequence[Table]) -> list[dict[str, Any]]:
    return [row for table in raised(tables) for row in table]


def same_labels(answers: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]]) -> None:
    assert [answer["label"] for answer in answers] == [answer["label"] for answer in expected]
    scores = [answer["score"] for answer in answers]
    assert scores == pytest.approx([answer["score"] for answer in expected], abs=TOLERANCE)


# -- batched equals alone --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["text-classification", "roberta"])
def test_classifications_in_batches_equal_those_alone(lane: Lane, name: str) -> None:
    """200 texts of mixed length get the labels and scores of the bare pipeline, each in its own place."""
    rows = tiny.texts(200)
    answers = classified(lane.predict_at_once(name, mixed(rows)))
    bare = lane.bare(name, "text-classification")
    same_labels(answers, [bare(row)[0] for row in rows])
    assert len({answer["label"] for answer in answers}) > 1


def test_text_pairs_in_batches_equal_those_alone(lane: Lane) -> None:
    """Both texts of a pair count, beside rows without a pair, as dicts or as a table."""
    texts = tiny.texts(200, longest=20)
    pairs: list[Any] = [{"text": a, "text_pair": b} for a, b in zip(texts[:100], texts[100:], strict=True)]
    rows = [pair if number % 3 else pair["text"] for number, pair in enumerate(pairs)]
    bare = lane.bare("text-classification", "text-classification")
    expected = [bare(row)[0] if isinstance(row, str) else bare(row) for row in rows]
    same_labels(classified(lane.predict_at_once("text-classification", mixed(rows))), expected)
    table = Table({"text": texts[:100], "text_pair": texts[100:]})
    same_labels(classified([lane.predict("text-classification", table)]), [bare(pair) for pair in pairs])


@pytest.mark.parametrize("name", ["feature-extraction", "minilm"])
def test_features_in_batches_equal_those_alone(lane: Lane, name: str) -> None:
    """200 texts get an array of (tokens, hidden) each, with the bare pipeline's numbers and no padding left in."""
    rows = tiny.texts(200)
    answers = [array for result in raised(lane.predict_at_once(name, mixed(rows))) for array in result]
    bare = lane.bare(name, "feature-extraction")
    assert len(answers) == len(rows)
    for row, answer in zip(rows, answers, strict=True):
        expected = numpy.array(bare(row)[0])
        assert answer.shape == expected.shape
        assert answer.dtype == numpy.float32
        assert numpy.abs(answer - expected).max() < TOLERANCE


@pytest.mark.parametrize("name", ["text-generation", "llama"])
def test_greedy_texts_in_batches_equal_those_alone(lane: Lane, name: str) -> None:
    """200 prompts of mixed length continue as each does alone, though their tokenizer has no padding token."""
    rows = tiny.texts(200)
    answers = [text for result in raised(lane.predict_at_once(name, mixed(rows), **GREEDY)) for text in result]
    bare = lane.bare(name, "text-generation")
    assert answers == [bare(row, **GREEDY)[0]["generated_text"].strip() for row in rows]
    assert tiny.tokenizer(lane.checkpoints[name]).pad_token is None


@pytest.mark.parametrize(
    "params",
    [
        {"max_length": 20},
        {"max_new_tokens": 12, "repetition_penalty": 5.0},
        {"max_new_tokens": 12, "no_repeat_ngram_size": 1},
        {"max_new_tokens": 12, "min_length": 10},
        {"max_new_tokens": 4, "num_beams": 3},
        {"max_new_tokens": 4, "return_full_text": False},
        {"max_new_tokens": 12, "stop_strings": None, "eos_token_id": 5},
    ],
    ids=lambda params: "-".join(params),
)
def test_generation_settings_see_no_padding(lane: Lane, params: dict[str, Any]) -> None:
    """Settings that look at a row's length or its tokens give the same text in a batch as alone."""
    rows = tiny.texts(24, longest=14, seed=3)
    params = {"do_sample": False, **params}
    answers = lane.predict("text-generation", rows, **params)
    bare = lane.bare("text-generation", "text-generation")
    assert answers == [bare(row, **params)[0]["generated_text"].strip() for row in rows]


def test_half_precision_answers_as_the_bare_pipeline_in_it(lane: Lane) -> None:
    """Under a dtype override the engine runs in bfloat16: near the bare pipeline in bfloat16, of the same shapes."""
    rows = tiny.texts(40)
    checkpoint = str(lane.checkpoints["text-classification"])
    bare = transformers.pipeline("text-classification", model=checkpoint, device="cpu", dtype=torch.bfloat16)
    answers = classified([lane.predict("text-classification", rows, dtype="bfloat16", top_k=None)])
    for row, answer in zip(rows, answers, strict=True):
        scores = dict(zip(answer["label"], answer["score"], strict=True))
        for item in bare(row, top_k=None):
            assert scores[item["label"]] == pytest.approx(item["score"], abs=0.05)
    features = lane.predict("feature-extraction", rows, dtype="bfloat16")
    assert {array.dtype for array in features} == {numpy.dtype("float32")}
    assert all(numpy.isfinite(array).all() for array in features)


def test_a_loaded_override_serves_until_it_is_unloaded(lane: Lane) -> None:
    """Predict without a dtype uses the model as it was loaded last, and the recorded type after an unload."""
    lane.engine.unload("minilm")
    context = JobContext(Records(), "0" * 32, 1)  # type: ignore[arg-type]
    loaded = lane.engine.load(LoadJob(model="minilm", dtype="float64"), context)
    assert (loaded["dtype"], loaded["recorded_dtype"]) == ("float64", "float32")
    assert loaded["types"]["pipeline"] == "FeatureExtractionPipeline"
    lane.predict("minilm", "a dog")
    assert [warm.dtype for warm in lane.engine.warm() if warm.model == "minilm/1"] == ["float64"]
    assert lane.engine.unload("minilm") == loaded["bytes"]
    lane.predict("minilm", "a dog")
    assert [warm.dtype for warm in lane.engine.warm() if warm.model == "minilm/1"] == ["float32"]


# -- rows and results ------------------------------------------------------------------------------------------------


def test_equal_rows_each_have_their_output(lane: Lane) -> None:
    """Duplicates are not merged: as many outputs as rows."""
    rows = ["good dog", "bad cat", "good dog", "good dog"]
    answers = list(lane.predict("text-classification", rows))
    bare = lane.bare("text-classification", "text-classification")
    same_labels(answers, [bare(row)[0] for row in rows])


@pytest.mark.parametrize("task", tiny.TASKS)
def test_a_single_row_needs_no_list(lane: Lane, task: str) -> None:
    """One text gives what the guide says for one text: a table of one row, an array, a list of one str."""
    result = lane.predict(task, "a dog", **(GREEDY if task == "text-generation" else {}))
    if task == "text-classification":
        assert list(result.columns) == ["label", "score"]
        assert len(result) == 1
    elif task == "feature-extraction":
        assert result.shape == (4, 32)
    else:
        assert [text.startswith("a dog") for text in result] == [True]


@pytest.mark.parametrize("top_k", [1, 2, 3, 50, None])
def test_top_k_gives_lists_best_first(lane: Lane, top_k: int | None) -> None:
    """With `top_k` a row holds that many labels, as the bare pipeline orders them; 1 is one label and no list."""
    rows = tiny.texts(10)
    bare = lane.bare("text-classification", "text-classification")
    answers = classified([lane.predict("text-classification", rows, top_k=top_k)])
    for row, answer in zip(rows, answers, strict=True):
        expected = bare(row, top_k=top_k)
        if top_k == 1:
            same_labels([answer], expected)
            continue
        assert answer["label"] == [item["label"] for item in expected]
        assert answer["score"] == pytest.approx([item["score"] for item in expected], abs=TOLERANCE)


@pytest.mark.parametrize("function", ["sigmoid", "softmax", "none", "NONE"])
def test_function_to_apply_is_the_bare_pipelines(lane: Lane, function: str) -> None:
    """Scores are squashed, or not, as asked."""
    rows = tiny.texts(10)
    bare = lane.bare("text-classification", "text-classification")
    answers = classified([lane.predict("text-classification", rows, function_to_apply=function)])
    same_labels(answers, [bare(row, function_to_apply=function)[0] for row in rows])


@pytest.mark.parametrize(
    ("pooling", "pool"), [("mean", lambda array: array.mean(axis=0)), ("cls", lambda array: array[0])]
)
def test_pooling_makes_one_vector_a_text(lane: Lane, pooling: str, pool: Callable[[Any], Any]) -> None:
    """`pooling` and `normalize` give what numpy makes of the plain features."""
    rows = tiny.texts(20)
    plain = lane.predict("minilm", rows)
    pooled = lane.predict("minilm", rows, pooling=pooling)
    unit = lane.predict("minilm", rows, pooling=pooling, normalize=True)
    for array, vector, direction in zip(plain, pooled, unit, strict=True):
        assert numpy.abs(vector - pool(array)).max() < TOLERANCE
        assert numpy.abs(direction * numpy.linalg.norm(vector) - vector).max() < TOLERANCE
        assert numpy.linalg.norm(direction) == pytest.approx(1)


def test_an_empty_text_is_a_text(lane: Lane) -> None:
    """Where the tokenizer frames a text, an empty one is answered as the bare pipeline answers it, among others."""
    rows = ["", "a dog", ""]
    bare = lane.bare("text-classification", "text-classification")
    same_labels(classified([lane.predict("text-classification", rows)]), [bare(row)[0] for row in rows])
    assert [array.shape for array in lane.predict("feature-extraction", rows)] == [(2, 32), (4, 32), (2, 32)]


def test_a_text_of_no_tokens_is_refused(lane: Lane) -> None:
    """Where it does not, an empty prompt has nothing to continue."""
    with pytest.raises(SchemaError, match="no tokens"):
        lane.predict("text-generation", [""], **GREEDY)


@pytest.mark.parametrize("rows", [[], [1], [None], ["a", 2], [["a", "b"]], [{"text_pair": "a"}], [{"text": 1}], 17])
@pytest.mark.parametrize("task", tiny.TASKS)
def test_a_row_of_another_kind_is_refused(lane: Lane, task: str, rows: Any) -> None:
    """What is no text, or no row at all, is a `SchemaError`."""
    with pytest.raises(SchemaError):
        lane.predict(task, rows)


# -- too long --------------------------------------------------------------------------------------------------------

LONG = "dog " * 200
#: Exactly as many tokens as the model reads.
FULL = "dog " * (tiny.POSITIONS - 2)


@pytest.mark.parametrize("name", ["text-classification", "roberta", "feature-extraction", "text-generation"])
def test_a_text_that_is_too_long_is_refused_with_the_limit(lane: Lane, name: str) -> None:
    """A row past the model's last position is `InputTooLong`, and not an index error of the device."""
    with pytest.raises(InputTooLong) as caught:
        lane.predict(name, ["short", LONG])
    assert caught.value.details["limit"] == tiny.POSITIONS
    assert caught.value.details["tokens"] > tiny.POSITIONS


@pytest.mark.parametrize("name", ["text-classification", "roberta"])
def test_the_last_position_is_used(lane: Lane, name: str) -> None:
    """A text of as many tokens as the model reads is answered; one more is refused."""
    bare = lane.bare(name, "text-classification")
    same_labels(classified([lane.predict(name, [FULL])]), bare(FULL))
    with pytest.raises(InputTooLong):
        lane.predict(name, [FULL + "dog"])


@pytest.mark.parametrize("params", [{"truncation": True}, {"truncation": True, "max_length": 10}])
def test_truncation_cuts_where_it_is_asked_to(lane: Lane, params: dict[str, Any]) -> None:
    """With `truncation` a long text is cut at `max_length`, or at the model's limit, as the bare pipeline would."""
    rows = [LONG, "good dog", LONG + "bad"]
    bare = lane.bare("text-classification", "text-classification")
    expected = [bare(row, **{"max_length": tiny.POSITIONS, **params})[0] for row in rows]
    same_labels(classified([lane.predict("text-classification", rows, **params)]), expected)
    length = params.get("max_length", tiny.POSITIONS)
    assert [len(array) for array in lane.predict("feature-extraction", rows, **params)] == [length, 4, length]


def test_a_text_that_would_grow_too_long_is_refused(lane: Lane) -> None:
    """Where positions are counted out, the prompt and the new tokens together must fit; the message says so."""
    prompt = "dog " * 60
    assert len(lane.predict("text-generation", [prompt], max_new_tokens=3, do_sample=False)) == 1
    with pytest.raises(InputTooLong, match="max_new_tokens"):
        lane.predict("text-generation", ["a dog", prompt], max_new_tokens=10, do_sample=False)
    with pytest.raises(InputTooLong, match="max_new_tokens"):
        lane.predict("text-generation", ["a dog"])  # by default a text grows by 256 tokens


def test_truncation_leaves_room_for_what_is_generated(lane: Lane) -> None:
    """With `truncation` a long prompt is cut so that the new tokens fit."""
    (answer,) = lane.predict("text-generation", [LONG], truncation=True, return_full_text=False, **GREEDY)
    assert answer


def test_a_model_with_relative_positions_may_grow_past_its_limit(lane: Lane) -> None:
    """A model that computes its positions is not cut short: its text goes on as the bare pipeline's does."""
    prompt = "dog " * 60
    bare = lane.bare("llama", "text-generation")(prompt, max_new_tokens=10, do_sample=False)[0]["generated_text"]
    assert lane.predict("llama", [prompt], max_new_tokens=10, do_sample=False) == [bare]


# -- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("text-classification", "temperature"),
        ("text-classification", "return_all_scores"),
        ("text-classification", "padding"),
        ("feature-extraction", "top_k"),
        ("feature-extraction", "tokenize_kwargs"),
        ("text-generation", "generation_kwargs"),
        ("text-generation", "_from_model_config"),
        ("text-generation", "tokenizer_encode_kwargs"),
        ("text-generation", "streamer"),
        ("text-generation", "trust_remote_code"),
    ],
)
def test_an_unknown_parameter_is_refused_with_those_that_are_known(lane: Lane, task: str, name: str) -> None:
    """A parameter that a task does not know is named, and the known ones are listed."""
    with pytest.raises(InvalidParams) as caught:
        lane.predict(task, ["a dog"], **{name: "secret"})
    assert caught.value.details["field"] == f"params.{name}"
    assert "truncation" in caught.value.details["allowed"]
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("task", "params"),
    [
        ("text-classification", {"top_k": "two"}),
        ("text-classification", {"top_k": 0}),
        ("text-classification", {"top_k": True}),
        ("text-classification", {"function_to_apply": "relu"}),
        ("text-classification", {"function_to_apply": 3}),
        ("text-classification", {"truncation": True, "max_length": "ten"}),
        ("text-classification", {"truncation": True, "max_length": 0}),
        ("text-classification", {"truncation": "sideways"}),
        ("feature-extraction", {"pooling": "max"}),
        ("feature-extraction", {"normalize": 1}),
        ("text-generation", {"num_return_sequences": 2}),
        ("text-generation", {"num_beams": 1_000_000}),
        ("text-generation", {"max_new_tokens": 1_000_000}),
        ("text-generation", {"max_new_tokens": "many"}),
        ("text-generation", {"max_new_tokens": -1}),
        ("text-generation", {"temperature": "hot"}),
        ("text-generation", {"do_sample": True, "temperature": -1.0}),
        ("text-generation", {"num_beams": 0}),
        ("text-generation", {"cache_implementation": "bogus"}),
    ],
    ids=str,
)
def test_an_ill_typed_parameter_is_refused_by_name(lane: Lane, task: str, params: dict[str, Any]) -> None:
    """A value that a parameter cannot have is an `InvalidParams`, before anything runs on the device."""
    with pytest.raises(InvalidParams, match="params"):
        lane.predict(task, ["a dog"], **params)


def test_a_model_that_makes_no_pipeline_for_its_task_says_so(lane: Lane) -> None:
    """A save refuses components that its task's pipeline cannot use; of an artifact that has them, a predict names the
    task."""
    with pytest.raises(SourceIncomplete, match="image processor"):
        lane.add("other", lane.checkpoints["feature-extraction"], "image-feature-extraction")
    lane.add("other", lane.checkpoints["feature-extraction"], "feature-extraction")
    rewrite(lane.store.path("other", 1), task="image-feature-extraction")
    with pytest.raises(ArtifactError, match="image-feature-extraction"):
        lane.predict("other", ["a dog"])


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_row_that_fails_on_the_device_fails_its_own_job_only(lane: Lane) -> None:
    """Of 64 jobs that share batches, the two with a row that the model cannot take fail; all others are right."""
    rows = tiny.texts(64)
    jobs = [[row] for row in rows]
    jobs[10], jobs[40] = [f"a {BOOM} dog"], ["a dog", f"the {BOOM}"]
    results = lane.predict_at_once("boom", jobs)
    assert [number for number, result in enumerate(results) if isinstance(result, Exception)] == [10, 40]
    bare = lane.bare("boom", "text-classification")
    for number, result in enumerate(results):
        if number not in (10, 40):
            same_labels(classified([result]), bare(rows[number]))


def test_a_job_with_a_bad_row_in_it_disturbs_nobody(lane: Lane) -> None:
    """A refused row in one job leaves jobs beside it as they are."""
    jobs: list[Any] = [[text] for text in tiny.texts(20)]
    jobs[5] = ["fine", LONG]
    jobs[6] = [17]
    results = lane.predict_at_once("text-classification", jobs)
    assert isinstance(results[5], InputTooLong)
    assert isinstance(results[6], SchemaError)
    assert sum(isinstance(result, Table) for result in results) == 18


def test_a_tokenizer_that_can_pad_with_nothing_runs_row_by_row(lane: Lane) -> None:
    """A tokenizer with neither a padding nor an end token is served all the same."""
    name = "unpadded"
    if not lane.store.versions(name):
        checkpoint = tiny.save("text-generation", lane.root / name)
        tokenizer = tiny.tokenizer(checkpoint)
        tokenizer.eos_token = tokenizer.bos_token = None
        tokenizer.save_pretrained(checkpoint)
        lane.add(name, checkpoint, "text-generation")
    rows = tiny.texts(12)
    bare = lane.bare(name, "text-generation")
    assert lane.predict(name, rows, **GREEDY) == [bare(row, **GREEDY)[0]["generated_text"] for row in rows]


def test_jobs_with_different_parameters_do_not_mix(lane: Lane) -> None:
    """Jobs of one model that ask for different settings at once each get their own."""
    rows = tiny.texts(30, longest=12)
    lengths = [3 + number % 5 for number in range(30)]

    def run(case: tuple[str, int]) -> str:
        row, length = case
        (text,) = lane.predict("text-generation", [row], max_new_tokens=length, do_sample=False)
        return str(text)

    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(run, zip(rows, lengths, strict=True)))
    bare = lane.bare("text-generation", "text-generation")
    assert answers == [
        bare(row, max_new_tokens=length, do_sample=False)[0]["generated_text"]
        for row, length in zip(rows, lengths, strict=True)
    ]


def test_different_models_and_types_loaded_at_once_all_come_out_right(lane: Lane) -> None:
    """transformers patches globals while it builds a model; loads that come together must not see each other's."""
    wanted = [
        (name, dtype) for name in ("minilm", "llama", "text-generation") for dtype in ("float64", "float32", "bfloat16")
    ]
    context = JobContext(Records(), "0" * 32, 1)  # type: ignore[arg-type]
    for _ in range(3):
        for name, _dtype in wanted:
            lane.engine.unload(name)
        with ThreadPoolExecutor(len(wanted)) as pool:
            loads = list(
                pool.map(lambda want: lane.engine.load(LoadJob(model=want[0], dtype=want[1]), context), wanted)
            )
        assert [load["dtype"] for load in loads] == [dtype for _name, dtype in wanted]
        for name, dtype in wanted:
            params = {"max_new_tokens": 2} if name != "minilm" else {}
            lane.predict(name, "a b c", dtype, **params)


def test_stop_strings_end_a_text_as_the_bare_pipeline_does(lane: Lane) -> None:
    """`stop_strings` needs the tokenizer, which a caller cannot send; the task adds it."""
    params = {"max_new_tokens": 8, "do_sample": False}
    [whole] = lane.predict("text-generation", "a b c", **params)
    stop = whole[len("a b c") :].strip()[:1]
    [short] = lane.predict("text-generation", "a b c", stop_strings=[stop], **params)
    bare = lane.bare("text-generation", "text-generation")
    assert short == bare("a b c", stop_strings=[stop], tokenizer=bare.tokenizer, **params)[0]["generated_text"]


@pytest.mark.parametrize("params", [{"min_p": 7}, {"eos_token_id": "x"}, {"max_time": "x"}])
def test_parameters_that_generation_refuses_are_invalid(lane: Lane, params: dict[str, Any]) -> None:
    """What `generate` itself refuses is the caller's mistake, not an internal error."""
    with pytest.raises(InvalidParams):
        lane.predict("text-generation", "a b c", **{"max_new_tokens": 2, "do_sample": True, **params})
