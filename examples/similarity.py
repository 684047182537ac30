"""Which sentences mean the same? Saves an embedding model, warms it, and compares sentences.

    python examples/similarity.py [--model HUB_ID_OR_DIRECTORY]

Needs a running `warmlane worker`.
"""

from __future__ import annotations

import argparse

import numpy

from warmlane import Client

SENTENCES = [
    "The cat sleeps on the warm windowsill.",
    "A kitten naps in the sun by the window.",
    "Interest rates rose again this quarter.",
    "The central bank tightened its policy.",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2")
    source = parser.parse_args().model
    with Client() as client:
        client.save("similarity", source, task="feature-extraction").result(timeout=600)
        client.load("similarity", dtype="float32").result(timeout=600)
        pooled = {"pooling": "mean", "normalize": True}
        answers = client.predict("similarity", SENTENCES, params=pooled).result(timeout=60)
    vectors = numpy.stack(answers)  # (sentences, hidden)
    cosines = vectors @ vectors.T
    numpy.fill_diagonal(cosines, -1)
    for index, sentence in enumerate(SENTENCES):
        nearest = int(cosines[index].argmax())
        print(f"{sentence}\n    is nearest to: {SENTENCES[nearest]} ({cosines[index, nearest]:.2f})")


if __name__ == "__main__":
    main()
