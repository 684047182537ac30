"""Output modes and rows that fail alone, through the queue to a real worker: a picture and a model's own arrays."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from tests import tiny, tiny_native
from tests.fleet import Fleet
from warmlane import Client


def test_a_picture_is_answered_natively_through_the_queue(warm_fleet: Fleet, client: Client) -> None:
    """A picture goes in as PNG and its mask comes back as PNG; a row that is none has its error in its place."""
    source = tiny_native.checkpoint("image-segmentation", warm_fleet.home / "segmenter")
    client.save("segmenter", source, task="image-segmentation").result(timeout=60)
    file = io.BytesIO()
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(file, format="PNG")
    good, bad = client.predict("segmenter", [file.getvalue(), b"no picture"], on_error="row").result(timeout=60)
    assert Image.open(io.BytesIO(good[0]["mask"])).size == (32, 24)
    assert bad["error"]["details"]["row"] == 1
    client.unload("segmenter").result(timeout=30)


def test_a_tokenizer_elsewhere_gets_logits_through_the_queue(warm_fleet: Fleet, client: Client) -> None:
    """What a tokenizer in this process makes of a text is answered by the model's arrays."""
    source = tiny.save("text-classification", warm_fleet.home / "classifier")
    client.save("classifier", source, task="text-classification").result(timeout=60)
    inputs = dict(tiny.tokenizer(source)(["a cat"], return_tensors="np"))
    answer = client.predict("classifier", inputs, output="raw").result(timeout=60)
    labels = client.predict("classifier", "a cat", params={"top_k": None}, output="native").result(timeout=60)
    scores = np.exp(answer["logits"][0]) / np.exp(answer["logits"][0]).sum()
    assert np.allclose(np.sort(scores)[::-1], [label["score"] for label in labels], atol=1e-4)
    client.unload("classifier").result(timeout=30)
