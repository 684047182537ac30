"""Keeps the bytes of frames that `tests.compat.frames` names and `wire_v1.json` does not have yet.

    python -m tests.compat.keep

Kept bytes are never replaced. A change of the format is a new wire version, with a file and values of its own.
"""

from __future__ import annotations

import json

from tests.compat.frames import KEPT, frames, kept


def main() -> None:
    known = kept()
    new = {name: frame.write(frame.value) for name, frame in frames().items() if name not in known}
    text = {name: data.hex() for name, data in {**known, **new}.items()}
    KEPT.write_text(json.dumps(text, indent=1) + "\n")
    print(f"{len(new)} frames are new, {len(known)} were kept before")


if __name__ == "__main__":
    main()
