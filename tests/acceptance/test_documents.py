"""What the README and the examples show is run here, with local weights in the place of a hub id."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fleet import ROOT, SHARED, Fleet, minilm
from warmlane_workers.mlmodel import Artifact

#: Each example that needs a worker, and the weights that it runs on here.
EXAMPLES = {
    "similarity.py": minilm(),
    "embeddings.py": minilm(),
    "fan_out.py": minilm(),
    "story.py": SHARED / "models" / "stories15m",
    "transcribe.py": SHARED / "models" / "whisper-tiny.en",
    "name_picture.py": SHARED / "models" / "resnet18-imagenet",
}
#: What an example is told besides its model.
ARGUMENTS = {"transcribe.py": [SHARED / "data" / "jfk.wav"], "name_picture.py": [SHARED / "data" / "chelsea.png"]}


def run(fleet: Fleet, *command: str) -> str:
    # Threads of an example that trains would wait for each other wherever others use the cores: twenty times as long.
    env = {**fleet.env, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], env=env, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_s_example_runs(warm_fleet: Fleet, tmp_path: Path) -> None:
    """Every statement of it, in a process of its own."""
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    script = tmp_path / "readme.py"
    # Under a name of its own: the example unloads what it loaded.
    script.write_text(
        code.replace("sentence-transformers/all-MiniLM-L6-v2", str(minilm())).replace('"minilm"', '"readme"')
    )
    output = run(warm_fleet, str(script))
    assert "'pipeline': 'FeatureExtractionPipeline'" in output
    [similarity] = re.findall(r"cosine similarity (\d\.\d\d)", output)
    assert 0.5 < float(similarity) < 1
    assert "SUCCEEDED" in output


@pytest.mark.parametrize("name", [name for name, weights in EXAMPLES.items() if weights.is_dir()])
def test_an_example_runs(warm_fleet: Fleet, name: str) -> None:
    """Each example that needs a worker ends well and says something."""
    arguments = [str(argument) for argument in ARGUMENTS.get(name, [])]
    output = run(warm_fleet, f"examples/{name}", "--model", str(EXAMPLES[name]), *arguments)
    assert {
        "similarity.py": "is nearest to: A kitten naps in the sun by the window.",
        "embeddings.py": " 0.33  Grandma's apple pie: less sugar, more cinnamon.\n 0.11  The boiler",
        "fan_out.py": "256 texts,",
        "story.py": "Once upon a time, there was a little girl named Lily.",
        "transcribe.py": "ask not what your country can do for you, ask what you can do for your country.",
        "name_picture.py": "%  Egyptian cat",
    }[name] in output


def test_a_classifier_and_its_lora_twin_are_trained_and_served(warm_fleet: Fleet) -> None:
    """Both are right on more than nine in ten sentences that they have not seen; the twin's artifact is an adapter that
    refers to its base, which has no head."""
    directory = warm_fleet.home / "sentiment-models"
    output = run(warm_fleet, "examples/sentiment.py", "--model", str(minilm()), "--directory", str(directory))
    right = dict(re.findall(r"^(\S+): (\d+\.\d)% of 168 held-out sentences are right$", output, flags=re.MULTILINE))
    assert right.keys() == {"sentiment", "sentiment-lora"}
    assert all(float(share) > 90 for share in right.values()), output
    twin = directory / "sentiment-lora"
    assert Artifact.read(twin).base_path == str(minilm().resolve())
    assert [path.relative_to(twin).as_posix() for path in twin.rglob("*.safetensors")] == [
        "peft/adapter_model.safetensors"
    ]
    assert sum(path.stat().st_size for path in twin.rglob("*") if path.is_file()) < 2_000_000


def test_the_example_of_an_application_s_tests_passes() -> None:
    """It is a test file; pytest runs it as an application would."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/test_my_application.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_readme_s_tree_names_every_module() -> None:
    """One phrase a file: nobody has to guess what a module is for."""
    readme = (ROOT / "README.md").read_text()
    for root in ("shared/warmlane", "workers/warmlane_workers"):
        for path in (ROOT / root).iterdir():
            if path.suffix == ".py" and path.stem != "__init__":
                assert re.search(rf"(^|\s){path.stem}\s", readme), path
            elif path.is_dir() and path.name != "__pycache__":
                assert f"{path.name}/" in readme, path
