"""How a model is named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmlane.errors import InvalidInput
from warmlane.model import DTYPES, ModelRef, dtype_name

names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)
modest = settings(max_examples=50, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("sentiment", ModelRef("sentiment")),
        ("sentiment/3", ModelRef("sentiment", version=3)),
        ("sentiment/999999999", ModelRef("sentiment", version=999_999_999)),
        ("sentiment@best", ModelRef("sentiment", alias="best")),
        ("0", ModelRef("0")),
        ("a.b_c-d@1.2", ModelRef("a.b_c-d", alias="1.2")),
        ("a" * 64, ModelRef("a" * 64)),
    ],
)
def test_a_reference_names_a_model_a_version_or_an_alias(text: str, ref: ModelRef) -> None:
    """`name`, `name/3` and `name@alias` are read as such, and written the same way."""
    assert ModelRef.parse(text) == ref
    assert str(ref) == text


@modest
@given(names, st.none() | st.integers(1, 999_999_999), st.none() | names)
def test_every_reference_reads_back(name: str, version: int | None, alias: str | None) -> None:
    """Writing a reference and reading it gives the same one, for any name, version or alias."""
    ref = ModelRef(name, version, None if version else alias)
    assert ModelRef.parse(str(ref)) == ref


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "Upper",
            "-a",
            ".a",
            "_a",
            "a" * 65,
            "a b",
            "a\n",
            "a/0",
            "a/01",
            "a/-1",
            "a/1.5",
            "a/",
            "a/1234567890",
        ),
        *("a@", "a@B", "a@b@c", "a/1@b", "a@b/1", "a/b", "org/repo", "../a", "a/../b", "a\x00", "ä", "a/٣", "a:b"),
        *(None, 7, b"a", ["a"], {"name": "a"}),
    ],
)
def test_what_names_no_model_is_refused_with_the_rule(text: Any) -> None:
    """Anything else is an InvalidInput that states the rule and the field, and does not quote what was given."""
    with pytest.raises(InvalidInput, match="a model is named") as caught:
        ModelRef.parse(text)
    assert caught.value.details == {"field": "model"}
    assert "repo" not in str(caught.value)


@pytest.mark.parametrize("name", DTYPES)
def test_an_element_type_may_carry_the_prefix_of_torch(name: str) -> None:
    """`float32` and `torch.float32` name the same type, and so does the object of torch."""

    class dtype:  # what torch calls it
        def __str__(self) -> str:
            return f"torch.{name}"

    assert dtype_name(name) == dtype_name(f"torch.{name}") == dtype_name(dtype()) == name
    assert dtype_name(None) is None


@pytest.mark.parametrize(
    "value", ["", "int8", "FLOAT32", "torch.", "torch.torch.float32", "float32 ", 32, b"float32", []]
)
def test_another_element_type_is_refused_with_the_choice(value: Any) -> None:
    """Anything else is an InvalidInput that lists the allowed types."""
    with pytest.raises(InvalidInput, match="float32, float16, bfloat16, float64") as caught:
        dtype_name(value)
    assert caught.value.details == {"field": "dtype", "allowed": list(DTYPES)}
