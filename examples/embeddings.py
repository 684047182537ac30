"""Searches a few notes by meaning, with requests in the shape of OpenAI's embeddings API.

    python examples/embeddings.py [--model HUB_ID_OR_DIRECTORY] [--query TEXT]

Needs a running `warmlane worker`.
"""

from __future__ import annotations

import argparse

import numpy

from warmlane import Client

NOTES = [
    "The boiler needs a new valve before the winter.",
    "Grandma's apple pie: less sugar, more cinnamon.",
    "The train to the coast leaves at nine on Saturday.",
    "Ask the bank about the interest on the loan.",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--query", default="How do I bake a dessert?")
    options = parser.parse_args()
    # A sentence model's vector is the mean over its tokens, of length 1: said once, for every request.
    pooled = {"pooling": "mean", "normalize": True}
    with Client() as client:
        client.save("notes", options.model, task="llm/v1/embeddings", model_config=pooled).result(timeout=600)
        answer = client.predict("notes", {"input": [options.query, *NOTES]}, dtype="float32").result(timeout=300)
    query, *notes = (numpy.array(record["embedding"]) for record in answer["data"])
    for score, note in sorted(
        ((vector @ query, note) for vector, note in zip(notes, NOTES, strict=True)), reverse=True
    ):
        print(f"{score:5.2f}  {note}")
    print(f"tokens read: {answer['usage']['prompt_tokens']}")


if __name__ == "__main__":
    main()
