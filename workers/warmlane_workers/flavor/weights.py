"""The weight files of a checkpoint's directory: which of them transformers would load, and what their headers say. No
weights are read."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import safetensors

from warmlane.errors import SourceError, SourceIncomplete

#: All weights in one file; where it is absent, the index that names the shards.
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
#: safetensors' names of the element types that models are loaded in.
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_FORM = re.compile(r"(?:model|consolidated)\b.*\.safetensors(?:\..*)?")
_REMEDY = "load it with transformers, and save `model.save_pretrained(dir)`"


def find(directory: Path, name: str, resolve: Callable[[Path], Path]) -> list[Path]:
    """The weight files that transformers would load, and their index if there is one.

    Args:
        name: what messages call the checkpoint.
        resolve: the true path of a file; raises where it may not be read.

    Raises:
        SourceIncomplete: there are none, or not all that the index names.
        SourceError: the index is none, or names files outside the directory.
    """
    index = directory / INDEX
    shards = _shards(index, name, resolve) if index.is_file() else []
    if (directory / SINGLE).is_file():
        return [directory / SINGLE]
    if not shards:
        raise SourceIncomplete(f"{name}: {_lack(directory)}")
    missing = next((shard for shard in shards if not (directory / shard).is_file()), None)
    if missing is not None:
        raise SourceIncomplete(f"{name}: {missing} is missing, which the weights' index names")
    return [*(directory / shard for shard in shards), index]


def is_another(path: Path) -> bool:
    """Whether a file that was not found holds the same weights in another form, e.g. `model.fp16.safetensors`."""
    return bool(_FORM.fullmatch(path.name))


def _shards(index: Path, name: str, resolve: Callable[[Path], Path]) -> list[str]:
    try:
        shards = sorted(set(json.loads(resolve(index).read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError, OSError) as exc:
        raise SourceError(f"{name}: {INDEX} is not the index of sharded weights") from exc
    strange = [shard for shard in shards if not isinstance(shard, str) or "/" in shard or "\0" in shard]
    if strange or not all(shard.endswith(".safetensors") for shard in shards):
        raise SourceError(f"{name}: {INDEX} names files that are no *.safetensors beside it")
    return shards


def _lack(directory: Path) -> str:
    """Why a directory has no weights that would be loaded."""
    found = sorted(path.name for path in directory.glob("*.safetensors"))
    if not found:
        return "no *.safetensors weights; convert them with `model.save_pretrained(dir)` first"
    if any(_SHARD.fullmatch(file) for file in found):
        return f"{INDEX} is missing, which tells what lies in which of the sharded weights; get it, or {_REMEDY}"
    return f"no {SINGLE}, and transformers does not load {found[0][:80]}; {_REMEDY}"


def dtype(paths: Iterable[Path], name: str, resolve: Callable[[Path], Path]) -> str | None:
    """The element type of most floating-point weights, from the files' headers.

    Raises:
        SourceError: a header is damaged, or the file is not as long as it says.
    """
    counts: Counter[str] = Counter()
    for path in (path for path in paths if path.suffix == ".safetensors"):
        try:
            with safetensors.safe_open(resolve(path), "pt") as tensors:
                counts.update(tensors.get_slice(key).get_dtype() for key in tensors.keys())  # noqa: SIM118 - no mapping
        except safetensors.SafetensorError as exc:
            raise SourceError(f"{name}: the weights are damaged ({path.name} is no safetensors file)") from exc
    return next((_DTYPES[kind] for kind, _ in counts.most_common() if kind in _DTYPES), None)


def loaded_bytes(directory: Path, dtype: str | None) -> int:
    """Bytes that a checkpoint's weights will take in memory, from the files' headers.

    An estimate: what a model does not use of the files counts, what it makes itself does not. 0 where nothing is known;
    what is wrong with the files is for the load to say.

    Args:
        dtype: what floating-point weights are loaded in; None is as they are.
    """
    size = 0
    try:
        for path in find(directory, directory.name, lambda path: path):
            if path.suffix == ".safetensors":
                with safetensors.safe_open(path, "pt") as tensors:
                    size += sum(_bytes(tensors.get_slice(key), dtype) for key in tensors.keys())  # noqa: SIM118
    except (SourceError, safetensors.SafetensorError, OSError):
        return 0
    return size


def _bytes(tensor: Any, dtype: str | None) -> int:
    kind = tensor.get_dtype()
    if kind in _DTYPES:
        kind = next(name for name, known in _DTYPES.items() if known == (dtype or _DTYPES[kind]))
    bits = re.search(r"\d+", kind)  # I8, U8, BF16, F8_E4M3, …; BOOL has none
    return int(math.prod(tensor.get_shape()) * (int(bits[0]) if bits else 8) // 8)


def shapes(directory: Path, names: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Those of the named tensors that a checkpoint has, from the files' headers; what is wrong with the files is for
    the load to say."""
    found: dict[str, tuple[int, ...]] = {}
    try:
        for path in find(directory, directory.name, lambda path: path) if names else ():
            if path.suffix == ".safetensors":
                with safetensors.safe_open(path, "pt") as tensors:
                    known = set(names).intersection(tensors.keys())
                    found |= {name: tuple(tensors.get_slice(name).get_shape()) for name in known}
    except (SourceError, safetensors.SafetensorError, OSError):
        return {}
    return found
