"""Custom code: Python files that a model brings, named by `auto_map` in its JSON files. It runs only where both sides
agree.

What a class of the installed transformers can do is done by that class, whatever files lie beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.models.auto.auto_factory import add_generation_mixin_to_remote_model

from warmlane.errors import CustomCodeRefused

#: The package in which transformers puts custom code.
_DYNAMIC = "transformers_modules"
#: Component -> the files in which transformers looks for its `auto_map`.
_DESCRIPTIONS = {
    "tokenizer": ("tokenizer_config.json",),
    "feature_extractor": ("preprocessor_config.json", "processor_config.json"),
    "image_processor": ("preprocessor_config.json", "processor_config.json"),
    "processor": ("processor_config.json", "preprocessor_config.json"),
}


#: Component -> the key of its class in those files.
_CLASS_KEYS = {
    "tokenizer": "tokenizer_class",
    "feature_extractor": "feature_extractor_type",
    "image_processor": "image_processor_type",
    "processor": "processor_class",
}


def auto_map(directory: Path, name: str = "config.json") -> dict[str, Any]:
    """`{"AutoModel": "modeling_x.XModel", …}` of a JSON file; empty where there is none."""
    found = _content(directory / name).get("auto_map")
    return found if isinstance(found, dict) else {"AutoTokenizer": found} if isinstance(found, list) else {}


def declared_class(directory: Path, component: str) -> str:
    """The class that a component's JSON names; "" where it names none."""
    for content in (_content(directory / name) for name in _DESCRIPTIONS[component]):
        found = content.get(_CLASS_KEYS[component])
        if isinstance(found, str):
            return found
    return ""


def parts_of_processor(directory: Path) -> list[str]:
    """The components that a processor's own JSON describes."""
    content = _content(directory / "processor_config.json")
    return [name for name in ("feature_extractor", "image_processor") if isinstance(content.get(name), dict)]


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def model_file(directory: Path, model_type: str) -> str | None:
    """The Python file that defines a checkpoint's model, if the installed transformers does not."""
    return None if is_native(model_type) else next(_files(auto_map(directory)), None)


def component_file(directory: Path, component: str, class_name: str) -> str | None:
    """The Python file that defines a component, if the installed transformers does not."""
    if is_native(class_name):
        return None
    return next((file for name in _DESCRIPTIONS[component] for file in _files(auto_map(directory, name))), None)


def elsewhere(directory: Path) -> str | None:
    """A reference to code that lies in another repository, e.g. `org/repo--modeling_x.XModel`."""
    names = {"config.json"}.union(*_DESCRIPTIONS.values())
    references = (reference for name in sorted(names) for reference in _references(auto_map(directory, name)))
    return next((reference for reference in references if "--" in reference), None)


def is_native(class_name: str) -> bool:
    """Whether the installed transformers has a class of that name."""
    return isinstance(getattr(transformers, class_name, None), type) if class_name else False


def model_of(directory: Path, model_type: str, auto: str) -> tuple[Any, Any]:
    """The class and the configuration of a checkpoint's own code, which runs here: only where both sides agreed.

    Not by the auto class of transformers, which takes the first code that it met for a configuration for all later.

    Args:
        auto: name of the auto class whose entry is taken where none is for `model_type`.

    Raises:
        KeyError: the code has neither.
    """
    references = {name: text for name, text in auto_map(directory).items() if isinstance(text, str)}
    named = [name for name, text in references.items() if text.endswith(f".{model_type}")]
    entry = (named or [auto])[0]
    found: Any = get_class_from_dynamic_module(references[entry], directory)
    found.register_for_auto_class(entry)  # so that a later save takes the code along
    kind = add_generation_mixin_to_remote_model(found)  # type: ignore[no-untyped-call]
    return kind, AutoConfig.from_pretrained(directory, trust_remote_code=True)


def refuse(file: str, where: str, *, agreed: bool) -> None:
    """Stop before custom code runs.

    Args:
        agreed: whether the caller allowed it.

    Raises:
        CustomCodeRefused: it is not allowed; names the file.
    """
    if not agreed:
        raise CustomCodeRefused(
            f"{where} brings its own code ({file}); read it, and pass trust_remote_code=True if you trust it",
            file=file,
            field="trust_remote_code",
        )


def refuse_unasked(components: Mapping[str, Any], *, agreed: bool) -> None:
    """The same answer to a job whether the model is warm or cold: what runs custom code is for those who agree to it.

    Raises:
        CustomCodeRefused: a component was made by code of its own, and the job does not ask for it.
    """
    for name, component in components.items():
        base = component.get_base_model() if hasattr(component, "get_base_model") else component
        package, _, module = type(base).__module__.partition(".")
        if package == _DYNAMIC:
            refuse(module.rpartition(".")[2] + ".py", f"the {name}", agreed=agreed)


def check_worker(asked: bool, allowed: bool) -> bool:
    """Whether a job may run custom code here: the job asks, and the operator allows.

    Raises:
        CustomCodeRefused: it asks and the operator does not allow.
    """
    if asked and not allowed:
        raise CustomCodeRefused(
            "trust_remote_code: this worker runs no custom code of models; start it with "
            "WARMLANE_TRUST_REMOTE_CODE=1 if you trust them",
            field="trust_remote_code",
        )
    return asked


def _files(references: dict[str, Any]) -> Iterator[str]:
    for reference in _references(references):
        yield reference.rpartition("--")[2].partition(".")[0] + ".py"


def _references(value: Any) -> Iterator[str]:
    """The class references of an `auto_map`; some are lists or dicts of several."""
    if isinstance(value, str) and "." in value:
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _references(item)
