"""Says what a picture shows.

    python examples/name_picture.py PICTURE [--model HUB_ID_OR_DIRECTORY]

Needs a running `warmlane worker`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from warmlane import Client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--model", default="microsoft/resnet-18")
    options = parser.parse_args()
    with Client() as client:
        client.save("resnet", options.model, task="image-classification").result(timeout=600)
        table = client.predict("resnet", options.picture.read_bytes(), dtype="float32").result(timeout=300)
    for row in table:
        print(f"{row['score']:6.1%}  {row['label']}")


if __name__ == "__main__":
    main()
