"""Writes the beginning of a story on a worker.

    python examples/story.py [--model HUB_ID_OR_DIRECTORY] [--prompt TEXT]

Needs a running `warmlane worker`.
"""

from __future__ import annotations

import argparse

from warmlane import Client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="Xenova/llama2.c-stories15M")
    parser.add_argument("--prompt", default="Once upon a time")
    options = parser.parse_args()
    with Client() as client:
        client.save("story", options.model, task="text-generation").result(timeout=600)
        job = client.predict(
            "story", options.prompt, params={"max_new_tokens": 60, "do_sample": False}, dtype="float32"
        )
        print(f"job {job.id} is {job.status().state}")
        [text] = job.result(timeout=300)
    print(text)


if __name__ == "__main__":
    main()
