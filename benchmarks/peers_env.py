"""The peers' own environment: made once, in a directory that is given. What does not install is told and left out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: What a peer is imported as, and what installs it.
PEERS = {"dramatiq": ["dramatiq[redis]", "hiredis"], "litserve": ["litserve"], "ray": ["ray[serve]"]}
#: On all sides the same model code and the same tokenizer; the peers choose the rest themselves.
_SAME = ("torch", "transformers", "tokenizers", "numpy", "safetensors", "huggingface_hub", "dramatiq", "redis")


def interpreter(home: Path) -> tuple[Path, dict[str, str]]:
    """The Python of the environment, and what of the peers it lacks: name -> why."""
    python = home / "env" / "bin" / "python"
    home.mkdir(parents=True, exist_ok=True)
    limits = _constraints(home)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home / "env")], check=True)
    if not _imports(python, "torch", "transformers"):
        for wanted in (["torch"], ["transformers"]):  # torch first and by itself: it must come as the CPU build
            _pip(python, limits, wanted).check_returncode()
    lacking = {}
    for name, wanted in PEERS.items():
        if not _imports(python, name):
            tried = _pip(python, limits, wanted)
            if not _imports(python, name):
                lines = tried.stderr.strip().splitlines() or [f"{name} does not import"]
                lacking[name] = lines[-1][:200]
    return python, lacking


def _constraints(home: Path) -> Path:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    chosen = home / "constraints.txt"
    chosen.write_text("".join(f"{line}\n" for line in lines if re.split("[=<>]", line)[0] in _SAME))
    return chosen


def _imports(python: Path, *names: str) -> bool:
    found = subprocess.run([python, "-c", f"import {', '.join(names)}"], capture_output=True, check=False)
    return found.returncode == 0


def _pip(python: Path, limits: Path, wanted: list[str]) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(limits), *wanted]
    return subprocess.run(command, capture_output=True, text=True, check=False)
