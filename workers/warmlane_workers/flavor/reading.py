"""Objects out of directories: models, components, adapters. The one door to `from_pretrained`; its errors are
translated.

Custom code runs only where the caller says so.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
import transformers

from warmlane.errors import (
    ArtifactDamaged,
    ArtifactError,
    ArtifactIncomplete,
    MissingExtra,
    SourceError,
    SourceIncomplete,
    WarmlaneError,
)
from warmlane_workers.flavor import custom_code
from warmlane_workers.pipelines import segments
from warmlane_workers.pipelines.memory import is_exhausted
from warmlane_workers.pipelines.registry import READERS, model_class

#: transformers patches its own classes and torch's default type while it builds a model: one at a time in a process.
_BUILDING = threading.Lock()

#: File names that hold a tokenizer. transformers 5 makes one up, in silence, where none of them is there.
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "spm.model",
    "source.spm",
    "sentencepiece.bpe.model",
)
#: Tokenizers that read bytes or characters, and so have no file of the above.
BYTE_TOKENIZERS = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")


@contextlib.contextmanager
def translated(what: str, error: type[ArtifactError | SourceError]) -> Iterator[None]:
    """Errors of the libraries in words of ours.

    Args:
        error: what a library's complaint about the files becomes.
    """
    try:
        yield
    except WarmlaneError:
        raise
    except safetensors.SafetensorError as exc:
        kind = ArtifactDamaged if issubclass(error, ArtifactError) else error
        raise kind(f"{what}: the weights are damaged (not readable as safetensors); save it again") from exc
    except ImportError as exc:
        first = str(exc).strip().splitlines()[0]
        raise MissingExtra(f"{what} needs a package that is not installed: {first}") from exc
    except Exception as exc:  # tokenizers raises no less than that
        if is_exhausted(exc):
            raise  # the files are not to blame
        raise error(f"{what} does not load ({type(exc).__name__}: {str(exc)[:300]})") from exc


def read_model(
    directory: Path,
    model_type: str,
    task: str,
    *,
    dtype: str | None = None,
    device_map: Any = None,
    key_mapping: Mapping[str, str] | None = None,
    unneeded: Collection[str] = (),
    settings: Mapping[str, Any] | None = None,
    trust_remote_code: bool = False,
    error: type[ArtifactError | SourceError] = ArtifactError,
) -> Any:
    """A checkpoint's model, in evaluation mode.

    Args:
        model_type: class name; where the installed transformers has none of that name, the checkpoint's own code, and
            without such code the auto class of the task.
        dtype: element type; default: that of the weights.
        key_mapping: pattern of a tensor's name in the files -> what stands there in the model's.
        unneeded: tensors that may be missing or of another shape, since an adapter replaces them; they come random.
        settings: of the configuration, over what the checkpoint has.

    Raises:
        CustomCodeRefused: it needs code of its own.
        ArtifactDamaged: the weights are not readable, or do not fit the configuration.
        ArtifactIncomplete: some are missing.
    """
    for needed in ("config.json", "*.safetensors"):  # transformers makes up the one, and takes pickles for the other
        if not any(directory.glob(needed)):
            kind = ArtifactIncomplete if issubclass(error, ArtifactError) else SourceIncomplete
            raise kind(f"{needed} is missing from the model's directory; save the model again")
    file = custom_code.model_file(directory, model_type)
    if file is not None:
        custom_code.refuse(file, "the model", agreed=trust_remote_code)
    options: dict[str, Any] = {} if dtype is None else {"dtype": getattr(torch, dtype)}
    options |= {"device_map": device_map} if device_map is not None else {}
    options |= {"key_mapping": dict(key_mapping)} if key_mapping is not None else {}
    with translated("the model", error), _BUILDING:
        if file is not None:
            kind, options["config"] = custom_code.model_of(directory, model_type, model_class(task).__name__)
            options["config"].update(dict(settings or {}))
        else:
            kind = _class(model_type, task)
            options |= settings or {}
        model, loading = kind.from_pretrained(
            directory,
            use_safetensors=True,
            trust_remote_code=file is not None,
            ignore_mismatched_sizes=True,  # refused below, in words of ours
            output_loading_info=True,
            **options,
        )
    _refuse_random(model, loading, task, unneeded)
    return model.eval()


def skeleton(directory: Path, model_type: str, task: str, **settings: Any) -> Any:
    """The model that a checkpoint's configuration makes, of a class of transformers, without memory for its weights.

    Raises:
        SourceError: it makes none.
    """
    with translated("the model", SourceError):
        config = transformers.AutoConfig.from_pretrained(directory, **settings)
        return hollow(_class(model_type, task), config)


def hollow(kind: Any, config: Any) -> Any:
    """A model of a class, without memory for its weights."""
    with _BUILDING, torch.device("meta"):
        return kind._from_config(config)


def _class(model_type: str, task: str) -> Any:
    kind = getattr(transformers, model_type, None) if model_type else None
    if isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel):
        return kind
    return model_class(task)


def _refuse_random(model: Any, loading: Any, task: str, unneeded: Collection[str]) -> None:
    """transformers puts random weights where the files have none that fit; an answer of these would be noise."""
    if any(name not in unneeded for name, *_ in loading["mismatched_keys"]):
        raise ArtifactDamaged("the weights do not fit the model's configuration; save the model again")
    # A base model is saved with or without its pooler, and features are taken before it.
    unasked = ("pooler.",) if model.base_model is model else ()
    missing = sorted(key for key in loading["missing_keys"] if not key.startswith(unasked) and key not in unneeded)
    if missing:
        raise ArtifactIncomplete(
            f"the weights have no {missing[0]!r}: they are incomplete, or this model was never trained for {task}; "
            "save one that is whole",
            tensor=missing[0],
        )


def read_component(
    name: str,
    directory: Path,
    class_name: str = "",
    *,
    model: Path | None = None,
    trust_remote_code: bool = False,
    error: type[ArtifactError | SourceError] = ArtifactError,
) -> Any:
    """A tokenizer, feature extractor, image processor or processor; small files only.

    Args:
        class_name: as it was recorded; default: as the component's own JSON says.
        model: the directory of its model's `config.json`; default: its own.

    Raises:
        ArtifactIncomplete, SourceIncomplete: a tokenizer without a vocabulary.
        CustomCodeRefused: it needs code of its own.
        MissingExtra: a package that it needs is not installed.
    """
    class_name = class_name or custom_code.declared_class(directory, name)
    file = custom_code.component_file(directory, name, class_name)
    if file is not None:
        custom_code.refuse(file, f"the {name}", agreed=trust_remote_code)
    elif name == "tokenizer" and class_name not in BYTE_TOKENIZERS and not has_tokenizer(directory):
        kind = ArtifactIncomplete if issubclass(error, ArtifactError) else SourceIncomplete
        raise kind(f"the component {name!r} is missing: none of {', '.join(TOKENIZER_FILES)}; save the model again")
    with translated(f"the {name}", error):
        read = READERS[name].from_pretrained(directory, trust_remote_code=file is not None)
        if name == "tokenizer":
            segments.restore(read, directory, model or directory)
        return read


def has_tokenizer(directory: Path) -> bool:
    """Whether a directory has a tokenizer's vocabulary."""
    return any((directory / name).exists() for name in TOKENIZER_FILES)
