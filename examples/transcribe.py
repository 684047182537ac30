"""Writes down what is said in a recording.

    python examples/transcribe.py RECORDING [--model HUB_ID_OR_DIRECTORY]

A recording is a file of any kind that PyAV decodes (wav, flac, mp3, ogg, m4a). Needs a running `warmlane worker`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from warmlane import Client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--model", default="openai/whisper-tiny.en")
    options = parser.parse_args()
    with Client() as client:
        client.save("whisper", options.model, task="automatic-speech-recognition").result(timeout=600)
        # One beam is five times as fast as the pipeline's five, and hears nearly as well.
        job = client.predict("whisper", options.recording.read_bytes(), params={"num_beams": 1}, dtype="float32")
        [text] = job.result(timeout=300)
    print(text)


if __name__ == "__main__":
    main()
