"""How a model is named: `name` (newest version), `name/3` (a version), `name@alias`. Knows names only, no store."""

from __future__ import annotations

import re
from dataclasses import dataclass

from warmlane.errors import InvalidInput

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_REF = re.compile(rf"(?P<name>{NAME.pattern})(?:/(?P<version>[1-9][0-9]{{0,8}})|@(?P<alias>{NAME.pattern}))?")

#: The element types a model may be loaded in, as users write them; `torch.` before one is dropped.
DTYPES = ("float32", "float16", "bfloat16", "float64")


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A reference to a stored model. At most one of version and alias is set; neither means the newest version."""

    name: str
    version: int | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: object) -> ModelRef:
        """Read a reference.

        Raises:
            InvalidInput: not a name, `name/version` or `name@alias`.
        """
        match = _REF.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise InvalidInput(
                "a model is named `name`, `name/3` or `name@alias`, where a name is 1 to 64 characters of "
                "a-z, 0-9, '.', '_', '-' and starts with a letter or digit",
                field="model",
            )
        version = match["version"]
        return cls(match["name"], int(version) if version else None, match["alias"])

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.name}/{self.version}"
        return f"{self.name}@{self.alias}" if self.alias else self.name


def dtype_name(value: object) -> str | None:
    """`float32 float16 bfloat16 float64`, with or without `torch.`, or a `torch.dtype`, as its short name; None stays.

    Raises:
        InvalidInput: anything else.
    """
    if value is None:
        return None
    text = value if isinstance(value, str) else str(value) if type(value).__name__ == "dtype" else ""
    name = text.removeprefix("torch.")
    if name not in DTYPES:
        raise InvalidInput(f"dtype must be one of {', '.join(DTYPES)}", field="dtype", allowed=list(DTYPES))
    return name
