"""The environment files of an artifact and the code that it brings: planned before a save, from what is installed."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import BertConfig, BertModel, ViTImageProcessorPil

from warmlane.errors import ArtifactIncomplete, InvalidCodePaths, RequirementsConflict, SourceError
from warmlane_workers.flavor import requirements
from warmlane_workers.flavor.code_paths import add_code, gather_code
from warmlane_workers.flavor.source import inside


def installed(name: str) -> str:
    """The pin of a package that is installed here."""
    return f"{name}=={metadata.version(name).partition('+')[0]}"


def written(target: Path, **arguments: Any) -> list[str]:
    """The lines of requirements.txt."""
    requirements.plan(**{"components": {}, **arguments}).write(target)
    return (target / "requirements.txt").read_text().splitlines()


def refusal(**arguments: Any) -> str:
    with pytest.raises(RequirementsConflict) as caught:
        requirements.plan(**{"components": {}, **arguments})
    return caught.value.message


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A directory for files that arguments name, apart from the target."""
    (tmp_path / "sources").mkdir()
    return tmp_path / "sources"


DEFAULTS = [installed(name) for name in ("transformers", "torch", "accelerate", "safetensors")]


def test_an_artifact_is_pinned_to_what_is_installed_here(tmp_path: Path) -> None:
    """Without arguments the packages that any artifact needs are pinned, in order, without local labels."""
    model = BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    lines = written(tmp_path, components={"model": model, "tokenizer": None})
    assert [line for line in lines if not line.startswith("torchvision")] == DEFAULTS
    assert not any("+" in line for line in lines)


def test_an_adapter_pins_peft(tmp_path: Path) -> None:
    """An artifact with an adapter needs peft, one without does not."""
    assert installed("peft") in written(tmp_path, has_adapter=True)
    assert installed("peft") not in written(tmp_path)


def test_a_component_pins_the_backend_of_its_class(tmp_path: Path) -> None:
    """An image processor that works on pillow's images pins pillow."""
    lines = written(tmp_path, components={"image_processor": ViTImageProcessorPil()})
    assert installed("Pillow") in lines


@pytest.mark.usefixtures("_import_path")
def test_a_class_of_its_own_module_pins_what_the_module_imported(tmp_path: Path, sources: Path) -> None:
    """A component whose module has imported one of transformers' optional packages pins it."""
    (sources / "own_component.py").write_text("import psutil\n\nclass Own:\n    pass\n")
    sys.path.insert(0, str(sources))
    importlib.invalidate_caches()
    own = importlib.import_module("own_component").Own()
    assert installed("psutil") in written(tmp_path, components={"tokenizer": own})


def test_the_three_files_agree(tmp_path: Path) -> None:
    """conda.yaml holds the same lines, python_env.yaml refers to them and pins what builds an environment."""
    lines = written(tmp_path)
    conda = yaml.safe_load((tmp_path / "conda.yaml").read_text())
    assert conda["dependencies"][-1] == {"pip": lines}
    python_env = yaml.safe_load((tmp_path / "python_env.yaml").read_text())
    assert python_env["python"] == ".".join(map(str, sys.version_info[:3]))
    assert python_env["dependencies"] == ["-r requirements.txt"]
    assert installed("pip") in python_env["build_dependencies"]


def test_code_pins_what_it_imports(tmp_path: Path, sources: Path) -> None:
    """Imports of code files are pinned by their distribution's name; the library, siblings and absentees are not."""
    (sources / "helper.py").write_text("import json\n")
    (sources / "main.py").write_text(
        "import os, yaml\nimport helper\nfrom sklearn.svm import SVC\nfrom . import x\n"
        "def late():\n    import absent_package\n"
    )
    lines = written(tmp_path, code_files=[sources / "main.py", sources / "helper.py"])
    assert [line for line in lines if not line.startswith("torchvision")] == [
        *DEFAULTS,
        installed("PyYAML"),
        installed("scikit-learn"),
    ]


def test_code_that_is_no_python_pins_nothing(tmp_path: Path, sources: Path) -> None:
    """A file that does not parse is nobody's reason to refuse a save."""
    (sources / "template.py").write_text("import {{ name }}\n")
    (sources / "deep.py").write_text("(" * 100_000)
    assert written(tmp_path, code_files=sorted(sources.iterdir())) == written(tmp_path)


def test_pip_requirements_replace_the_defaults(tmp_path: Path) -> None:
    """The lines that were given are the file."""
    given = ["transformers>=5", "numpy[extra]<3; python_version > '3'", "own @ https://example.org/own.whl", "--pre"]
    assert written(tmp_path, pip_requirements=given) == given


def test_a_requirements_file_is_read_with_the_files_that_it_names(tmp_path: Path, sources: Path) -> None:
    """`-r` is followed from where the file lies, comments go, a backslash joins lines, each file counts once."""
    (sources / "more").mkdir()
    (sources / "top.txt").write_text("# a comment\nnumpy>=2  # why\n-r more/nested.txt\npandas\\\n  >=2\n")
    (sources / "more" / "nested.txt").write_text("--requirement=../top.txt\nscipy --hash=sha256:00\n")
    lines = written(tmp_path, pip_requirements=sources / "top.txt")
    assert lines == ["numpy>=2", "scipy --hash=sha256:00", "pandas >=2"]


def test_constraints_become_a_file_of_their_own(tmp_path: Path, sources: Path) -> None:
    """The lines of `-c` files are kept as constraints.txt, which the requirements refer to."""
    (sources / "limits.txt").write_text("numpy<3\n")
    lines = written(tmp_path, pip_requirements=["numpy", f"-c {sources / 'limits.txt'}"])
    assert lines == ["numpy", "-c constraints.txt"]
    assert (tmp_path / "constraints.txt").read_text() == "numpy<3\n"
    conda = yaml.safe_load((tmp_path / "conda.yaml").read_text())
    assert conda["dependencies"][-1] == {"pip": lines}


def test_extra_requirements_join_the_defaults(tmp_path: Path) -> None:
    """Extra lines come after the defaults; one of the same package joins its line."""
    lines = written(tmp_path, extra_pip_requirements=["pandas", "Torch[opt]>=2"])
    torch = metadata.version("torch").partition("+")[0]
    assert [line for line in lines if not line.startswith("torchvision")] == [
        DEFAULTS[0],
        f"torch[opt]=={torch},>=2",
        *DEFAULTS[2:],
        "pandas",
    ]


def test_an_address_wins_over_the_default_pin(tmp_path: Path) -> None:
    """A package that is given by its address is not pinned to a version as well."""
    lines = written(tmp_path, extra_pip_requirements=["torch @ https://example.org/torch.whl"])
    assert [line for line in lines if line.startswith(("torch ", "torch="))] == [
        "torch @ https://example.org/torch.whl"
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        {"extra_pip_requirements": ["transformers==1.1.0"]},
        {"pip_requirements": ["numpy==1.0", "NumPy==2.0"]},
        {"pip_requirements": ["numpy==1.0", "numpy>=2"]},
        {"pip_requirements": ["own @ https://example.org/a.whl", "own @ https://example.org/b.whl"]},
    ],
    ids=["default", "pins", "range", "addresses"],
)
def test_a_package_that_is_asked_for_twice_is_refused(arguments: dict[str, Any]) -> None:
    """Two lines that no version satisfies are a conflict, told by package and line."""
    assert "line " in refusal(**arguments)


def test_a_constraint_that_rules_out_a_pin_is_refused(sources: Path) -> None:
    """A pin and a constraint that exclude each other are found at save, not at the next installation."""
    (sources / "limits.txt").write_text("transformers<5\n")
    assert "transformers" in refusal(extra_pip_requirements=["-c " + str(sources / "limits.txt")])


@pytest.mark.parametrize(
    "line",
    ["secret stuff", "numpy=2", "-e .", "./wheel.whl", "--global-option=x", "numpy\n--index-url=x", "-r absent.txt"],
)
def test_a_bad_line_is_told_by_its_number_only(line: str) -> None:
    """The message has the line's number and not its text; paths of this machine are bad lines."""
    message = refusal(pip_requirements=["numpy", line])
    assert "pip_requirements, line 2" in message
    assert line not in message


def test_a_bad_line_of_a_nested_file_is_told_by_both_numbers(sources: Path) -> None:
    """The way to a bad line leads through the files that name each other."""
    (sources / "nested.txt").write_text("numpy\n\n???\n")
    assert "pip_requirements, line 1, line 3" in refusal(pip_requirements=[f"-r {sources / 'nested.txt'}"])


@pytest.mark.parametrize("given", ["absent.txt", "a\0b", "x" * 5000])
def test_a_file_that_is_not_there_is_refused(given: str) -> None:
    """A path that names no file is a refusal, whatever the system says of it."""
    assert "pip_requirements" in refusal(pip_requirements=given)


def test_files_outside_the_roots_are_not_read(sources: Path) -> None:
    """A requirements file is read only where the worker may read."""
    (sources / "top.txt").write_text("numpy\n")
    with pytest.raises(SourceError):
        requirements.plan(
            components={},
            pip_requirements=str(sources / "top.txt"),
            resolve=lambda path: inside(path, (sources / "elsewhere",)),
        )


CONDA: dict[str, Any] = {"name": "mine", "dependencies": ["python=3.12", "pip", {"pip": ["numpy<3", "scipy"]}]}


def test_a_conda_environment_is_kept(tmp_path: Path) -> None:
    """It is written as it was given; its pip section is requirements.txt."""
    assert written(tmp_path, conda_env=CONDA) == ["numpy<3", "scipy"]
    assert yaml.safe_load((tmp_path / "conda.yaml").read_text()) == CONDA


def test_a_conda_file_is_kept_to_the_letter(tmp_path: Path, sources: Path) -> None:
    """The file that was named is the file in the artifact, comments and all."""
    text = "# mine\ndependencies:\n- pip:\n  - numpy\n"
    (sources / "env.yaml").write_text(text)
    assert written(tmp_path, conda_env=str(sources / "env.yaml")) == ["numpy"]
    assert (tmp_path / "conda.yaml").read_text() == text


@pytest.mark.parametrize(
    "conda",
    [{}, {"dependencies": "numpy"}, {"dependencies": [{"pip": "numpy"}]}, {"dependencies": [object()]}],
    ids=["empty", "text", "pip", "object"],
)
def test_a_malformed_conda_environment_is_refused(conda: dict[str, Any]) -> None:
    """What is no conda environment is refused by the argument's name."""
    assert refusal(conda_env=conda).startswith("conda_env")


def test_two_environments_are_refused() -> None:
    """The three arguments exclude each other."""
    assert "excludes" in refusal(conda_env=CONDA, pip_requirements=["numpy"])


@pytest.fixture
def package(sources: Path) -> Path:
    """A directory of code, with what an interpreter left in it."""
    (sources / "own_package" / "__pycache__").mkdir(parents=True)
    (sources / "own_package" / "__init__.py").write_text("ANSWER = 42\n")
    (sources / "own_package" / "words.txt").write_text("words\n")
    (sources / "own_package" / "__pycache__" / "__init__.pyc").write_bytes(b"x")
    (sources / "single.py").write_text("")
    return sources / "own_package"


@pytest.fixture
def _import_path() -> Iterator[None]:
    before, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = before
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_code_is_copied_under_its_own_name(tmp_path: Path, package: Path) -> None:
    """Directories and files lie under code/ by their names, without what was compiled."""
    code = gather_code([package, str(package.parent / "single.py")])
    code.write(tmp_path)
    copied = sorted(str(path.relative_to(tmp_path / "code")) for path in (tmp_path / "code").rglob("*.*"))
    assert copied == ["own_package/__init__.py", "own_package/words.txt", "single.py"]
    assert [path.name for path in code.python_files] == ["__init__.py", "single.py"]


def test_no_code_makes_no_directory(tmp_path: Path) -> None:
    """Without code paths there is no code/."""
    gather_code(None).write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_target_inside_the_code_is_not_copied_into_itself(package: Path) -> None:
    """Files are listed before a save writes, so that an artifact below the code does not hold itself."""
    code = gather_code([package])
    target = package / "artifact"
    target.mkdir()
    code.write(target)
    assert not (target / "code" / "own_package" / "artifact").exists()


@pytest.mark.usefixtures("_import_path")
def test_added_code_is_importable_once(tmp_path: Path, package: Path) -> None:
    """After `add_code` the artifact's modules import; a second call adds no second entry."""
    gather_code([package]).write(tmp_path)
    add_code(tmp_path)
    add_code(tmp_path)
    assert sys.path.count(str(tmp_path / "code")) == 1
    assert importlib.import_module("own_package").ANSWER == 42


def test_an_artifact_that_lost_its_code_is_told(tmp_path: Path) -> None:
    """Without code/ there is nothing to add, and a remedy."""
    with pytest.raises(ArtifactIncomplete):
        add_code(tmp_path)


def test_bad_code_paths_are_told_by_position(package: Path) -> None:
    """An absent path, a second one of the same name, a non-path and a non-list are refused, each by its place."""
    for given, place in (
        ([package, package / "absent.py"], "code_paths[1]"),
        ([package, package.parent / "own_package"], "code_paths[1]"),
        ([7], "code_paths[0]"),
        (["a\0b"], "code_paths[0]"),
        (str(package), "code_paths:"),
        (7, "code_paths:"),
    ):
        with pytest.raises(InvalidCodePaths) as caught:
            gather_code(given)  # type: ignore[arg-type]
        assert caught.value.message.startswith(place)


@pytest.mark.parametrize("kind", ["directory", "absent", "pipe"])
def test_code_holds_files_and_directories_only(package: Path, kind: str) -> None:
    """Links to directories, links to nowhere and pipes are refused instead of left out or waited for."""
    if kind == "pipe":
        os.mkfifo(package / "odd")
    else:
        (package / "odd").symlink_to(package.parent if kind == "directory" else package / "nowhere")
    with pytest.raises(InvalidCodePaths):
        gather_code([package])


def test_links_out_of_the_roots_are_not_followed(package: Path, tmp_path: Path) -> None:
    """A link to a file outside the roots is refused before anything is copied."""
    (tmp_path / "secret.py").write_text("")
    (package / "link.py").symlink_to(tmp_path / "secret.py")
    with pytest.raises(SourceError):
        gather_code([package], lambda path: inside(path, (package,)))
