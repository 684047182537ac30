"""Models that answer otherwise in company, because the frequencies of their positions follow the longest text: each
text gets what it gets alone. In process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import transformers as tf

from tests import tiny_text
from tests.inprocess import Served, seeded
from warmlane.jobs import PredictJob

#: (pairs of words of the prompt, tokens of the answer): some stay within the 64 positions of the training, some do not.
ROWS = ((1, 20), (3, 90), (10, 12), (6, 80), (2, 3), (13, 60), (8, 8), (17, 40))


def _sizes(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        **tiny_text.SMALL,
        "num_key_value_heads": 4,
        "bos_token_id": 0,
        "eos_token_id": None,
        "pad_token_id": 0,
    }


def dynamic() -> dict[str, Any]:
    tokenizer = tiny_text.byte_pairs()
    scaling = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    config = tf.LlamaConfig(**_sizes(tokenizer), rope_parameters=scaling)
    return {"model": tf.LlamaForCausalLM(config), "tokenizer": tokenizer}


def longrope() -> dict[str, Any]:
    """As Phi-3 has it."""
    tokenizer = tiny_text.byte_pairs()
    scaling = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
    }
    sizes = {**_sizes(tokenizer), "max_position_embeddings": 512, "original_max_position_embeddings": 64}
    config = tf.Phi3Config(**sizes, rope_parameters=scaling)
    return {"model": tf.Phi3ForCausalLM(config), "tokenizer": tokenizer}


@pytest.mark.parametrize("make", [dynamic, longrope])
def test_a_text_is_generated_as_it_is_alone_beside_longer_ones(make: Callable[[], Any], tmp_path: Path) -> None:
    """Greedy, eight at a time, and some of them twice: token by token what `generate` gives."""
    with Served(tmp_path) as served:
        served.add("model", "text-generation", seeded(make))
        rows = [("the cat " * words, new) for words, new in ROWS] * 2

        def ask(row: tuple[str, int]) -> str:
            params = {"max_new_tokens": row[1], "do_sample": False}
            (text,) = served.answer(PredictJob(model="model", inputs=row[0].strip(), params=params, dtype="float32"))
            return str(text)

        with ThreadPoolExecutor(8) as pool:
            texts = list(pool.map(ask, rows))
        bare: Any = served.bare["model"]

        def alone(row: tuple[str, int]) -> str:
            ids = bare.tokenizer(row[0].strip(), return_tensors="pt")
            found = bare.model.generate(**ids, max_new_tokens=row[1], do_sample=False)
            return str(bare.tokenizer.decode(found[0], skip_special_tokens=True))

        assert texts == [alone(row) for row in rows]
