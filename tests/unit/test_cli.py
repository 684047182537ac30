"""The command `warmlane`, in process against the fake lane: output, exit codes, one-line errors."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import warmlane
from warmlane import Client, NDArray, Settings, State, Table
from warmlane._slots import Slot
from warmlane.cli import main
from warmlane.errors import DeviceError, JobExpired, SourceError, WarmlaneError
from warmlane.jobs import AliasJob, DeleteJob, LoadJob, Options, PersistJob, PredictJob, SaveJob, UnloadJob
from warmlane.lanes import Submit
from warmlane.testing import FakeLane, FakeTransport


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Scripted(FakeTransport):
    """A transport that does something else each time that somebody waits."""

    def __init__(self, lane: FakeLane, *steps: Callable[[], object]) -> None:
        super().__init__(lane)
        self._steps = list(steps)

    def pause(self, slot: Slot, seconds: float) -> None:
        self._steps.pop(0)()


class Run:
    """Runs the command; keeps what it printed."""

    def __init__(self, lane: FakeLane, capsys: pytest.CaptureFixture[str]) -> None:
        self.lane = lane
        self.settings: Settings | None = None
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *argv: str, transport: FakeTransport | None = None) -> int:
        def connect(settings: Settings) -> Client:
            self.settings = settings
            return Client(settings=settings, transport=transport or FakeTransport(self.lane))

        try:
            code = main(argv, client_factory=connect)
        except SystemExit as exc:
            code = int(exc.code or 0)
        self.out, self.err = self._capsys.readouterr()
        return code

    @property
    def document(self) -> Any:
        """Stdout as the one JSON document that it has to be, without NaN."""
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

    @property
    def lines(self) -> list[Any]:
        """Stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WARMLANE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def lane() -> FakeLane:
    lane = FakeLane()
    sentiment = Table({"label": ["POSITIVE"], "score": [0.99]})
    lane.answer("sentiment", sentiment, task="text-classification", dtype="float16")
    lane.answer("upper", lambda inputs, params: inputs.upper(), task="text-generation")
    return lane


@pytest.fixture
def run(lane: FakeLane, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(lane, capsys)


def held(lane: FakeLane, model: str = "upper") -> str:
    """The id of a job that stays queued."""
    lane.hold()
    return lane.client().predict(model, "x").id


# -- the command itself ----------------------------------------------------------------------------------------------


def test_version(run: Run) -> None:
    """--version prints the package's version."""
    assert run("--version") == 0
    assert run.out == f"warmlane {warmlane.__version__}\n"


def test_help_lists_the_exit_codes(run: Run) -> None:
    """--help tells scripts what to rely on."""
    assert run("--help") == 0
    assert "exit codes:" in run.out
    assert "130" in run.out


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["fly"],
        ["predict"],
        ["predict", "m", "x", "--params", "nonsense"],
        ["predict", "m", "x", "--params", "[1]"],
        ["predict", "m", "x", "--window", "0"],
        ["predict", "m", "x", "--timeout", "-1"],
        ["predict", "m", "x", "--timeout", "nan"],
        ["save", "m", "s", "--metadata", "novalue"],
        ["load", "m", "--return-type", "soup"],
    ],
)
def test_wrong_usage_exits_2(run: Run, argv: list[str]) -> None:
    """What argparse refuses ends with 2 and enqueues nothing."""
    assert run(*argv) == 2
    assert run.out == ""
    assert run.lane.jobs == []


def test_global_flags_go_before_or_behind_the_command(run: Run) -> None:
    """--namespace, --redis-url and --json mean the same on either side."""
    assert run("--namespace", "a", "--redis-url", "redis://h", "--json", "models") == 0
    before, first = run.settings, run.document
    assert run("models", "--namespace", "a", "--redis-url", "redis://h", "--json") == 0
    assert (run.settings, run.document) == (before, first)
    assert before is not None
    assert (before.namespace, before.redis_url) == ("a", "redis://h")


@pytest.mark.parametrize(
    ("error", "code"),
    [(DeviceError("no\n  memory"), 1), (SourceError("gone"), 1), (JobExpired("late"), 6)],
)
def test_a_failed_job_is_one_line(run: Run, lane: FakeLane, error: WarmlaneError, code: int) -> None:
    """A job's error is one line on stderr, also when its message has several."""
    lane.answer("broken", error)
    assert run("predict", "broken", "x") == code
    assert run.out == ""
    assert run.err == f"warmlane: {error.code}: {' '.join(error.message.split())}\n"


def test_with_json_the_error_is_an_object_on_stderr(run: Run, lane: FakeLane) -> None:
    """--json leaves stdout empty and puts code, message and details on stderr."""
    lane.on("load", DeviceError("no memory", needed=5))
    assert run("load", "sentiment", "--json") == 1
    assert run.out == ""
    assert json.loads(run.err) == {"code": "device_error", "message": "no memory", "details": {"needed": 5}}


def test_a_bug_is_one_line_and_a_traceback_on_demand(run: Run, lane: FakeLane, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody expected is an internal_error; WARMLANE_DEBUG=1 shows where it came from."""

    def fail() -> None:
        raise ZeroDivisionError("by nothing")

    lane.hold()
    assert run("predict", "upper", "x", transport=Scripted(lane, fail)) == 1
    assert run.err.startswith("warmlane: internal_error: ZeroDivisionError: by nothing")
    assert run.err.count("\n") == 1
    monkeypatch.setenv("WARMLANE_DEBUG", "1")
    assert run("predict", "upper", "x", transport=Scripted(lane, fail)) == 1
    assert "Traceback" in run.err


def test_a_wrong_setting_exits_2(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A malformed variable is told by name."""
    monkeypatch.setenv("WARMLANE_RESULT_TTL", "soon")
    assert run("models") == 2
    assert run.err == "warmlane: configuration: WARMLANE_RESULT_TTL: 'soon' is not a number\n"


def test_an_unreachable_server_exits_5(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real client and no server at the address, one line and 5."""
    monkeypatch.setenv("WARMLANE_CONNECT_TIMEOUT", "0.1")
    assert main(["--redis-url", "redis://user:secret@127.0.0.1:1", "models"]) == 5
    captured = capsys.readouterr()
    assert captured.err.startswith("warmlane: server_unreachable: ")
    assert "secret" not in captured.err
    assert captured.out == ""


def test_ctrl_c_names_the_job_that_goes_on(run: Run, lane: FakeLane) -> None:
    """Ctrl-C while waiting exits 130 with the id and no traceback; the job is still queued."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    lane.hold()
    assert run("predict", "upper", "x", transport=Scripted(lane, interrupt)) == 130
    job_id = run.err.split()[3]
    assert run.err == f"warmlane: interrupted: job {job_id} goes on; `warmlane job {job_id}` tells how\n"
    assert lane.client().job(job_id).status().state is State.QUEUED
    assert run("predict", "upper", *"abcde", "--json", transport=Scripted(lane, interrupt)) == 130
    assert len(json.loads(run.err)["details"]["jobs"]) == 5


# -- save, load, unload, persist -------------------------------------------------------------------------------------


def test_save_sends_every_flag(run: Run, lane: FakeLane) -> None:
    """Each flag of save arrives in the job."""
    named = [
        "--task",
        "text-generation",
        "--dtype",
        "torch.bfloat16",
        "--revision",
        "main",
        "--metadata",
        "a=1",
        "b=x=y",
    ]
    assert run("save", "m", "org/repo", *named, "--reference-only", "--trust-remote-code", "--json") == 0
    assert lane.jobs == [
        SaveJob(
            name="m",
            source="org/repo",
            task="text-generation",
            dtype="bfloat16",
            save_pretrained=False,
            revision="main",
            metadata={"a": "1", "b": "x=y"},
            trust_remote_code=True,
        )
    ]
    assert run.document["model"] == "m/1"


def test_save_sends_what_describes_the_model(run: Run, lane: FakeLane, tmp_path: Path) -> None:
    """Template, configuration, signature, example, card, environment, code and base arrive as the client takes them."""
    card, code = tmp_path / "card.md", tmp_path / "helper.py"
    card.write_text("# A card\n")
    code.write_text("")
    signature = {"inputs": [{"type": "string", "required": True}], "outputs": None, "params": None}
    options = ["--prompt-template", "Q: {prompt}", "--model-config", '{"max_new_tokens": 5}', "--model-card", str(card)]
    options += ["--signature", json.dumps(signature), "--input-example", '["a", "b"]', "--code-paths", str(code)]
    options += ["--pip-requirements", "numpy", "torch>=2", "--base-model-path", str(tmp_path), "--processor", "org/p"]
    assert run("save", "m", "org/repo", *options, "--json") == 0
    assert lane.jobs[-1] == SaveJob(
        name="m",
        source="org/repo",
        prompt_template="Q: {prompt}",
        model_config={"max_new_tokens": 5},
        model_card="# A card\n",
        signature=signature,
        input_example=["a", "b"],
        code_paths=[str(code)],
        pip_requirements=["numpy", "torch>=2"],
        base_model_path=str(tmp_path),
        processor="org/p",
    )


def test_save_takes_components(run: Run, lane: FakeLane) -> None:
    """--component makes a dict of sources, in which SOURCE is the model."""
    assert run("save", "m", "org/model", "--component", "tokenizer=org/other") == 0
    assert run("save", "m", "--component", "model=org/a", "--component", "tokenizer=org/b") == 0
    assert [job.source for job in lane.jobs if isinstance(job, SaveJob)] == [
        {"model": "org/model", "tokenizer": "org/other"},
        {"model": "org/a", "tokenizer": "org/b"},
    ]


@pytest.mark.parametrize(
    "argv", [["save", "m"], ["save", "M!", "s"], ["save", "m", "s", "--dtype", "int3"], ["load", "m//1"]]
)
def test_wrong_fields_exit_2(run: Run, argv: list[str]) -> None:
    """What a job's own checks refuse is wrong input."""
    assert run(*argv) == 2
    assert run.err.startswith("warmlane: invalid_input: ")


def test_alias_and_delete_send_a_job_each(run: Run, lane: FakeLane) -> None:
    """`alias MODEL ALIAS` and `delete MODEL` arrive as they were typed, and say what was done."""
    assert run("alias", "sentiment/1", "prod", "--json") == 0
    assert run.document == {"model": "sentiment/1", "alias": "prod", "before": None}
    assert run("delete", "sentiment@prod", "--json") == 0
    assert (run.document["versions"], run.document["aliases"]) == ([], ["prod"])
    assert lane.jobs[-2:] == [AliasJob(model="sentiment/1", alias="prod"), DeleteJob(model="sentiment@prod")]


def test_a_delete_that_is_refused_is_a_failure(run: Run, lane: FakeLane) -> None:
    """A version that an alias means stays; a version that is not there is not found."""
    assert run("alias", "sentiment", "prod") == 0
    assert run("delete", "sentiment/1") == 1
    assert run.err.startswith("warmlane: model_in_use: ")
    assert run("delete", "sentiment/7") == 3


def test_load_unload_and_persist_send_their_flags(run: Run, lane: FakeLane) -> None:
    """The other commands arrive as the jobs that they are."""
    named = ["--dtype", "float32", "--return-type", "components"]
    assert run("load", "sentiment", *named, "--pin", "--trust-remote-code") == 0
    assert run("unload", "sentiment") == 0
    assert run("persist", "sentiment") == 0
    assert lane.jobs == [
        LoadJob(model="sentiment", dtype="float32", pin=True, return_type="components", trust_remote_code=True),
        UnloadJob(model="sentiment"),
        PersistJob(model="sentiment"),
    ]


@pytest.mark.parametrize("words", [("load", "sentiment"), ("predict", "upper", "x")], ids=lambda words: words[0])
def test_a_job_is_handled_as_its_flags_say(run: Run, lane: FakeLane, words: tuple[str, ...]) -> None:
    """Priority and deadline travel beside the job; a pool that nobody is in is wrong input."""
    seen: list[Options] = []

    class Watching(FakeTransport):
        def run(self, op: Any) -> Any:
            if isinstance(op, Submit):
                seen.append(op.options)
            return super().run(op)

    assert run(*words, "--priority", "low", "--deadline", "5", transport=Watching(lane)) == 0
    assert seen == [Options(priority="low", deadline=5.0)]
    assert run(*words, "--pool", "a100") == 2
    assert "pool_not_found" in run.err


def test_a_report_is_readable(run: Run) -> None:
    """Without --json a report is names and values."""
    assert run("load", "sentiment", "--dtype", "float32") == 0
    pairs = dict(line.split(maxsplit=1) for line in run.out.splitlines() if len(line.split()) > 1)
    assert pairs["recorded_dtype"].strip() == "float16"
    assert pairs["dtype"].strip() == "float32"


def test_no_wait_prints_the_id(run: Run, lane: FakeLane) -> None:
    """--no-wait returns at once with the id, on its own line or as a document."""
    lane.hold()
    assert run("load", "sentiment", "--no-wait") == 0
    assert lane.client().job(run.out.strip()).status().state is State.QUEUED
    assert run("load", "sentiment", "--no-wait", "--json") == 0
    assert lane.client().job(run.document["id"]).status().kind == "load"


def test_a_time_out_exits_4(run: Run, lane: FakeLane) -> None:
    """--timeout ends the wait, not the job."""
    lane.hold()
    assert run("load", "sentiment", "--timeout", "0.01") == 4
    assert run.err.startswith("warmlane: result_timeout: ")
    assert lane.client().job(run.err.split()[3]).status().state is State.QUEUED


def test_an_unknown_model_exits_3(run: Run) -> None:
    """A model that is not there is not found, whether the client knows or a worker."""
    assert run("predict", "nobody", "x") == 3
    assert run("load", "nobody") == 3
    assert run.err.startswith("warmlane: model_not_found: ")


def test_progress_is_drawn_on_a_terminal(run: Run, lane: FakeLane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody at a terminal sees the phase on stderr; stdout has the report only."""

    class Downloading(FakeTransport):
        """Reports at the first wait and lets it time out; ends the job at the next one behind it."""

        def pause(self, slot: Slot, seconds: float) -> None:
            if lane.client().job(ids[0]).status().state is State.LOADING:
                lane.release()
            else:
                slot.wake.wait(seconds)
                lane.report(ids[0], 0.25, "downloading", state=State.LOADING)

        def run(self, op: Any) -> Any:
            if isinstance(op, Submit):
                ids.append(op.message.message_id)
            return super().run(op)

    ids: list[str] = []
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    lane.hold()
    assert run("load", "sentiment", "--timeout", "60", transport=Downloading(lane)) == 0
    assert "load: downloading" in screen.getvalue()
    assert "recorded_dtype" in run.out


def test_a_watched_wait_times_out_too(run: Run, lane: FakeLane, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a progress display the time-out is the same."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    lane.hold()
    assert run("load", "sentiment", "--timeout", "0.01") == 4
    assert "warmlane: result_timeout: job " in screen.getvalue()


# -- predict ---------------------------------------------------------------------------------------------------------


def test_one_text_is_answered_for_people(run: Run) -> None:
    """A table comes as a table, a text as it is."""
    assert run("predict", "sentiment", "great") == 0
    assert [line.split() for line in run.out.splitlines() if "POS" in line] == [["POSITIVE", "0.99"]]
    assert run("predict", "upper", "[bold]great[/bold]") == 0
    assert run.out == "[BOLD]GREAT[/BOLD]\n"


def test_a_text_may_stand_behind_an_option(run: Run, lane: FakeLane) -> None:
    """`predict MODEL --stream TEXT` is read as `predict MODEL TEXT --stream`."""
    assert run("predict", "upper", "--dtype", "float32", "great") == 0
    assert lane.jobs == [PredictJob(model="upper", inputs="great", dtype="float32")]


@pytest.mark.parametrize("option", ["--time", "--out", "--par"])
def test_options_are_not_abbreviated(run: Run, lane: FakeLane, option: str) -> None:
    """What an abbreviation means would change with the options that there are."""
    assert run("predict", "upper", "x", option, "1") == 2
    assert lane.jobs == []


def test_a_row_may_be_json(run: Run, lane: FakeLane) -> None:
    """--row is a row that is no text; a TEXT that is refused is told of it."""
    lane.answer("ask", "yes", task="question-answering")
    asked = {"question": "q", "context": "c"}
    assert run("predict", "ask", "--row", json.dumps(asked)) == 0
    assert lane.jobs == [PredictJob(model="ask", inputs=asked)]
    assert run("predict", "ask", "q") == 2
    assert "--row JSON" in run.err
    assert run("predict", "ask", "q", "--row", "{}") == 2
    assert "only one of them" in run.err


def test_the_first_row_that_fails_may_end_the_command(run: Run, lane: FakeLane) -> None:
    """--on-error job: what comes behind it is not answered."""

    def half(inputs: Any, params: Any) -> str:
        if inputs != "a":
            raise DeviceError("broken")
        return "good"

    lane.answer("half", half)
    assert run("predict", "half", "a", "b", "a") == 1
    assert len(run.lines) == 3
    assert run("predict", "half", "a", "b", "a", "--on-error", "job") == 1
    assert run.lines == [{"row": 0, "output": "good"}]
    assert run.err.startswith("warmlane: device_error: ")


@pytest.mark.parametrize(("argv", "says"), [(("a", "b"), "not 2"), (("a", "--json"), "--json")])
def test_a_stream_says_what_it_cannot_do(run: Run, argv: tuple[str, ...], says: str) -> None:
    """Several texts and JSON are told apart."""
    assert run("predict", "upper", "--stream", *argv) == 2
    assert says in run.err


def test_an_array_is_answered_in_a_line(run: Run, lane: FakeLane) -> None:
    """People see type, shape, range and the first numbers."""
    lane.answer("features", NDArray("float32", (1, 2), b"\0\0\0\0\0\0\x80?"))
    assert run("predict", "features", "x") == 0
    assert run.out == "float32 (1, 2)  from 0 to 1, mean 0.5: 0 1\n"


def test_the_output_mode_travels(run: Run, lane: FakeLane) -> None:
    """--as says what the answer is in; a mode that there is not is refused."""
    assert run("predict", "upper", "x", "--as", "native") == 0
    assert lane.jobs == [PredictJob(model="upper", inputs="x", output="native")]
    assert run("predict", "upper", "x", "--as", "json") == 2


def test_params_and_dtype_travel(run: Run, lane: FakeLane) -> None:
    """--params and --dtype arrive in the job."""
    assert run("predict", "upper", "x", "--params", '{"max_new_tokens": 3}', "--dtype", "float32") == 0
    assert lane.jobs == [PredictJob(model="upper", inputs="x", params={"max_new_tokens": 3}, dtype="float32")]


def test_many_texts_are_json_lines(run: Run, lane: FakeLane) -> None:
    """Each text is a job of its own; the lines come in the order of the texts."""
    assert run("predict", "upper", "a", "b") == 0
    assert run.lines == [{"row": 0, "output": "A"}, {"row": 1, "output": "B"}]
    assert len(lane.jobs) == 2


def test_json_makes_one_list(run: Run) -> None:
    """--json prints one list of rows, also for one text."""
    assert run("predict", "sentiment", "great", "--json") == 0
    assert run.document == [{"row": 0, "output": [{"label": "POSITIVE", "score": 0.99}]}]


def test_stdin_lines_are_texts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TEXT and --file every line of stdin is a row, an empty one too."""
    monkeypatch.setattr(sys, "stdin", io.StringIO('a\n\n"b"\n'))
    assert run("predict", "upper") == 0
    assert [line["output"] for line in run.lines] == ["A", "", '"B"']


def test_a_file_has_json_rows(run: Run, lane: FakeLane, tmp_path: Path) -> None:
    """A line of --file is a JSON string or object."""
    lane.answer("echo", lambda inputs, params: inputs)
    path = tmp_path / "rows.jsonl"
    path.write_text('"ä"\n{"text": "b"}\n', encoding="utf-8")
    assert run("predict", "echo", "--file", str(path)) == 0
    assert run.lines == [{"row": 0, "output": "ä"}, {"row": 1, "output": {"text": "b"}}]


def test_dash_reads_json_rows_from_stdin(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """--file - is stdin."""
    monkeypatch.setattr(sys, "stdin", io.StringIO('"a"\n'))
    assert run("predict", "upper", "--file", "-") == 0
    assert run.lines == [{"row": 0, "output": "A"}]


def test_a_bad_row_fails_alone(run: Run, lane: FakeLane, tmp_path: Path) -> None:
    """Rows that cannot be read, are refused or fail have an error in their place; their neighbours are answered."""
    path = tmp_path / "rows.jsonl"
    path.write_text('"a"\n{broken\n["many"]\n{"no": "text"}\n"b"\n')
    assert run("predict", "upper", "--file", str(path)) == 1
    codes = [line.get("output") or line["error"]["code"] for line in run.lines]
    assert codes == ["A", "invalid_input", "invalid_input", "schema_mismatch", "B"]
    assert [line["row"] for line in run.lines] == [0, 1, 2, 3, 4]
    assert run.err == ""


def test_output_goes_to_a_file(run: Run, tmp_path: Path) -> None:
    """--output takes the lines; stdout has a sentence, or a document."""
    path = tmp_path / "out.jsonl"
    assert run("predict", "upper", "a", "--output", str(path)) == 0
    assert json.loads(path.read_text()) == {"row": 0, "output": "A"}
    assert run.out == f"1 rows, 0 failed, answers in {path}\n"
    assert run("predict", "upper", "a", "b", "--output", str(path), "--json") == 0
    assert run.document == {"rows": 2, "failed": 0, "output": str(path)}


@pytest.mark.parametrize(
    "argv", [["x", "--file", "f"], ["--file", "/no/such/file"], ["x", "--output", "/no/such/dir/o"]]
)
def test_files_that_cannot_be_used_exit_2(run: Run, argv: list[str]) -> None:
    """A missing file, or a file beside TEXTs, is told in one line."""
    assert run("predict", "upper", *argv) == 2
    assert run.err.startswith("warmlane: invalid_input: ")
    assert run.err.count("\n") == 1


def test_output_never_overwrites_the_rows(run: Run, tmp_path: Path) -> None:
    """--output on the same file as --file is refused and the file is left as it was."""
    path = tmp_path / "rows.jsonl"
    path.write_text('"a"\n')
    assert run("predict", "upper", "--file", str(path), "--output", str(path)) == 2
    assert path.read_text() == '"a"\n'


def test_a_file_that_is_not_utf_8_exits_2(run: Run, tmp_path: Path) -> None:
    """Bytes that are no text are told in one line."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'"\xff"\n')
    assert run("predict", "upper", "--file", str(path)) == 2
    assert run.err == f"warmlane: invalid_input: {path} is not UTF-8\n"


def test_at_most_a_window_is_in_flight(run: Run, lane: FakeLane) -> None:
    """With --window 2 the third row is enqueued only when the first is answered."""
    in_flight: list[int] = []

    def let_one_through() -> None:
        in_flight.append(len(lane.jobs) - len(in_flight))
        lane.release(1)

    lane.hold()
    transport = Scripted(lane, *[let_one_through] * 5)
    assert run("predict", "upper", *"abcde", "--window", "2", transport=transport) == 0
    assert [line["output"] for line in run.lines] == list("ABCDE")
    assert in_flight == [2, 2, 2, 2, 1]


def test_many_rows_time_out_together(run: Run, lane: FakeLane) -> None:
    """--timeout is for the whole call; the jobs under way are named and go on."""
    lane.hold()
    assert run("predict", "upper", "a", "b", "--timeout", "0.01", "--json") == 4
    error = json.loads(run.err)
    assert error["code"] == "result_timeout"
    assert [lane.client().job(job_id).status().state for job_id in error["details"]["jobs"]] == [State.QUEUED] * 2


def test_a_lost_server_ends_the_rows(run: Run, lane: FakeLane) -> None:
    """What every row would meet ends the command instead of filling the output."""
    lane.hold()
    assert run("predict", "upper", "a", "b", transport=Scripted(lane, lambda: lane.disconnect())) == 5
    assert run.out == ""


def test_rows_have_a_bar_on_a_terminal(run: Run, lane: FakeLane, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar is on stderr and the lines are on stdout."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    assert run("predict", "upper", "a", "b") == 0
    assert "2/2" in screen.getvalue()
    assert len(run.lines) == 2


def test_values_have_a_json_form(run: Run, lane: FakeLane) -> None:
    """Arrays, bytes, times and NaN come out as valid JSON."""
    when = datetime(2025, 5, 4, 3, 2, 1, tzinfo=UTC)
    nan, array = float("nan"), NDArray("float32", (1, 2), b"\0\0\0\0\0\0\xc0\x7f")
    lane.answer("all", {"array": array, "bytes": b"\0\1", "time": when, "nan": [nan, float("inf")], "none": None})
    assert run("predict", "all", "x", "--json") == 0
    assert run.document[0]["output"] == {
        "array": [[0.0, None]],
        "bytes": {"base64": "AAE="},
        "time": "2025-05-04T03:02:01+00:00",
        "nan": [None, None],
        "none": None,
    }


# -- job, cancel, models, workers ------------------------------------------------------------------------------------


def test_job_prints_the_record(run: Run, lane: FakeLane) -> None:
    """`job ID` tells how a job stands, for people and as a document, and asks for no result."""
    job_id = held(lane)
    assert run("job", job_id) == 0
    assert job_id in run.out
    assert "QUEUED" in run.out
    assert run("job", job_id, "--json") == 0
    assert run.document == lane.client().job(job_id).status().to_dict()


def test_job_wait_adds_the_result(run: Run, lane: FakeLane) -> None:
    """`job ID --wait` waits for the end and prints the result behind the record."""
    job_id = held(lane)
    assert run("job", job_id, "--wait", "--json", transport=Scripted(lane, lane.release)) == 0
    assert (run.document["state"], run.document["result"]) == ("SUCCEEDED", "X")
    assert run("job", job_id, "--wait", "5") == 0
    assert run.out.splitlines()[-1] == "X"


def test_job_wait_tells_how_it_failed(run: Run, lane: FakeLane) -> None:
    """A failed job's record is on stdout, its error on stderr, and the exit code says which kind."""
    lane.answer("broken", DeviceError("no memory"))
    job_id = lane.client().predict("broken", "x").id
    assert run("job", job_id, "--wait", "--json") == 1
    assert (run.document["state"], run.document["result"]) == ("FAILED", None)
    assert json.loads(run.err)["code"] == "device_error"
    assert run("job", job_id) == 0
    assert "device_error: no memory" in run.out


def test_job_wait_times_out(run: Run, lane: FakeLane) -> None:
    """`job ID --wait S` exits 4 when the job is not done by then."""
    assert run("job", held(lane), "--wait", "0.01") == 4


@pytest.mark.parametrize("record", [True, False])
def test_an_expired_job_exits_3(run: Run, lane: FakeLane, record: bool) -> None:
    """A job without record is not found; one whose result has expired shows its record and no result."""
    job_id = lane.client().predict("upper", "x").id
    lane.expire(job_id, record=record)
    assert run("job", job_id, "--wait", "--json") == 3
    assert json.loads(run.err)["code"] == ("job_not_found" if record else "result_expired")


def test_an_unknown_id_exits_3_and_a_malformed_one_2(run: Run) -> None:
    """Ids are checked before they are looked up."""
    assert run("job", "0" * 32) == 3
    assert run("cancel", "0" * 32) == 3
    assert run("job", "xyz") == 2


def test_cancel_tells_the_state(run: Run, lane: FakeLane) -> None:
    """A waiting job is cancelled, a running one asked to stop, a finished one left alone; waiting for it exits 6."""
    job_id = held(lane)
    assert run("cancel", job_id, "--json") == 0
    assert run.document == {"id": job_id, "state": "CANCELLED"}
    assert run("job", job_id, "--wait") == 6
    running = lane.client().predict("upper", "x").id
    lane.report(running, 0.5, "batch 1/2")
    assert run("cancel", running) == 0
    assert run.out.startswith("asked to stop")
    assert run("job", running) == 0
    assert "cancel requested" in run.out
    lane.release()
    done = lane.client().predict("upper", "x").id
    assert run("cancel", done) == 0
    assert run.out == "too late, the job is SUCCEEDED\n"


def test_models_are_listed(run: Run, lane: FakeLane) -> None:
    """`models` shows names, versions, aliases, tasks and where they are warm."""
    lane.client().load("sentiment").result(timeout=1)
    lane.client().alias("sentiment", "prod").result(timeout=1)
    assert run("models", "--json") == 0
    assert [(m["name"], m["versions"], m["aliases"], m["warm_on"]) for m in run.document] == [
        ("sentiment", [1], {"prod": 1}, ["fake-worker"]),
        ("upper", [1], {}, []),
    ]
    assert run("models") == 0
    assert [line.split()[:5] for line in run.out.splitlines() if "sentiment" in line] == [
        ["sentiment", "1", "prod=1", "text-classification", "float16"]
    ]


def test_workers_are_listed_with_what_they_hold(run: Run, lane: FakeLane) -> None:
    """`workers` shows devices and states, and the warm models with their element types."""
    lane.client().load("sentiment", dtype="float32", pin=True).result(timeout=1)
    assert run("workers", "--json") == 0
    (worker,) = run.document
    assert (worker["id"], worker["state"], worker["models"][0]["dtype"]) == ("fake-worker", "ready", "float32")
    assert run("workers") == 0
    assert "sentiment/1" in run.out


def test_no_models_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty store says what to do next."""
    run = Run(FakeLane(), capsys)
    assert run("models") == 0
    assert run.out == "no models; publish one with `warmlane save`\n"


# -- worker, gateway, demo -------------------------------------------------------------------------------------------

_WORKER = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.environ.get("WARMLANE_REDIS_URL"), os.environ.get("WARMLANE_NAMESPACE")]))
"""


def test_worker_hands_everything_on(tmp_path: Path) -> None:
    """Arguments behind `worker` arrive untouched, --help too; global flags before it arrive as variables."""
    for package in ("warmlane_workers", "torch"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "warmlane_workers" / "__main__.py").write_text(_WORKER)
    argv = [
        "--redis-url",
        "redis://h:1",
        "--namespace",
        "n",
        "worker",
        "--help",
        "--json",
        "--",
        "x",
        "--devices",
        "cpu",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "warmlane.cli", *argv],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [["--help", "--json", "--", "x", "--devices", "cpu"], "redis://h:1", "n"]


@pytest.mark.parametrize("command", ["worker", "demo"])
def test_without_torch_the_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """A worker or the demo without torch is one line with the command that installs it."""
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run(command) == 2
    assert run.err.startswith("warmlane: missing_extra: ")
    assert "pip install 'warmlane[" in run.err


def test_an_address_that_the_gateway_cannot_have_exits_2(run: Run) -> None:
    """Another process has the port, or there is no such port: one line that names the flags."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port in (taken.getsockname()[1], 99_999):
            assert run("gateway", "--port", str(port)) == 2
            assert run.err.startswith(f"warmlane: configuration: the gateway cannot listen on 127.0.0.1:{port} (")


def test_the_command_imports_no_torch_and_no_workers() -> None:
    """Importing the command loads nothing heavy: neither torch, numpy, rich nor the workers."""
    script = "import sys, warmlane.cli; print({'torch', 'numpy', 'rich', 'warmlane_workers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
