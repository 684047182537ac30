"""A tiny model that transformers does not have: a checkpoint with the Python files that define it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests import tiny

#: The classes of the checkpoint, by the files that define them.
MODEL_FILE, CONFIG_FILE, TOKENIZER_FILE = "modeling_bag.py", "configuration_bag.py", "tokenization_bag.py"

CONFIGURATION = """
from transformers import PretrainedConfig


class BagConfig(PretrainedConfig):
    model_type = "bag"

    def __init__(self, vocabulary=1, **kwargs):
        self.vocabulary = vocabulary
        super().__init__(**kwargs)
"""
MODELING = '''
import os

import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from .configuration_bag import BagConfig


class BagForSequenceClassification(PreTrainedModel):
    """Adds up a vector a token."""

    config_class = BagConfig
    sign = {sign}
    fatal = {fatal}

    def __init__(self, config):
        super().__init__(config)
        self.votes = torch.nn.Embedding(config.vocabulary, config.num_labels)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        if self.fatal in input_ids.flatten().tolist():
            os._exit(3)
        return SequenceClassifierOutput(logits=self.sign * self.votes(input_ids).sum(1))
'''
TOKENIZATION = '''
from transformers import PreTrainedTokenizerFast


class BagTokenizer(PreTrainedTokenizerFast):
    """Reads the first words of a text."""

    words = {words}

    def __call__(self, text, *args, **kwargs):
        return super().__call__(" ".join(text.split()[: self.words]), *args, **kwargs)
'''


def save(directory: Path, *, sign: int = 1, words: int | None = None, fatal: str | None = None) -> Path:
    """Write a checkpoint of a classifier.

    Args:
        sign: factor of all scores, in the model's code and nowhere else.
        fatal: a word that ends the process which reads it.
        words: how many words of a text count, in the code of a tokenizer of its own; None: that of transformers.
    """
    tokenizer = tiny.word_tokenizer()
    tokenizer.save_pretrained(directory)
    (directory / CONFIG_FILE).write_text(CONFIGURATION)
    number = None if fatal is None else tokenizer.convert_tokens_to_ids(fatal)
    (directory / MODEL_FILE).write_text(MODELING.replace("{sign}", str(sign)).replace("{fatal}", str(number)))
    config = {
        "model_type": "bag",
        "architectures": ["BagForSequenceClassification"],
        "auto_map": {
            "AutoConfig": "configuration_bag.BagConfig",
            "AutoModelForSequenceClassification": "modeling_bag.BagForSequenceClassification",
        },
        "vocabulary": len(tokenizer),
        "id2label": {"0": "bad", "1": "good"},
        "label2id": {"bad": 0, "good": 1},
        "dtype": "float32",
    }
    (directory / "config.json").write_text(json.dumps(config))
    votes = torch.randn((len(tokenizer), 2), generator=torch.Generator().manual_seed(3))
    save_file({"votes.weight": votes}, directory / "model.safetensors", {"format": "pt"})
    if words is not None:
        (directory / TOKENIZER_FILE).write_text(TOKENIZATION.replace("{words}", str(words)))
        path = directory / "tokenizer_config.json"
        changes = {
            "tokenizer_class": "BagTokenizer",
            "auto_map": {"AutoTokenizer": [None, "tokenization_bag.BagTokenizer"]},
        }
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return directory
