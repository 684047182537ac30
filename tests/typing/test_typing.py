"""The type checker's view of the public names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

USAGE = Path(__file__).with_name("usage.py")
ROOT = USAGE.parents[2]


def test_an_application_that_uses_every_public_name_passes_the_strict_type_checker() -> None:
    """mypy --strict accepts the usage file, each of whose lines states a type, and finds the mistakes at its end."""
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(USAGE)], cwd=ROOT, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout


def test_the_package_says_that_it_is_typed() -> None:
    """The marker that makes type checkers look into an installed package is beside the code."""
    import warmlane

    assert Path(warmlane.__file__).with_name("py.typed").exists()
