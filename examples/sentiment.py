"""Trains a sentiment classifier in seconds, and its twin as a LoRA adapter; saves both and asks them through the queue.

    python examples/sentiment.py [--model HUB_ID_OR_DIRECTORY] [--directory DIR]

The classifier is the base with a trained head: an artifact with all weights. The twin is an adapter that brings
its head: an artifact of a megabyte that refers to the base, which has none. Held-out sentences are built from words
that training never shows.

Needs the worker's packages (`pip install 'warmlane[worker]'`) and a running `warmlane worker` that may read DIR
(`--source-roots`; by default its working directory), and the base, if that is a directory.
"""

from __future__ import annotations

import argparse
import itertools
import random
import shutil
from pathlib import Path
from typing import Any

import peft
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from warmlane import Client
from warmlane_workers import flavor

LABELS = ("NEGATIVE", "POSITIVE")
TRAIN, HELD_OUT = 0, 1
#: Words for a label, of training and of the held-out sentences.
FEELINGS = {
    "NEGATIVE": (
        "awful boring dull terrible weak disappointing clumsy horrible annoying worthless sad ugly poor tedious",
        "bad dreadful lousy unpleasant pathetic miserable painful",
    ),
    "POSITIVE": (
        "great lovely brilliant wonderful strong charming excellent delightful superb touching funny fine fresh",
        "good amazing fantastic pleasant marvellous joyful impressive",
    ),
}
THINGS = ("film book meal room song service story concert phone game", "holiday lecture coffee play garden journey")
FRAMES = (
    ("The {thing} was {feeling}.", "Oh, that {feeling} {thing}!", "I found the {thing} rather {feeling}."),
    ("My friends called this {thing} {feeling}.", "This {feeling} {thing} is one of many."),
)
TO_JUDGE = [
    "I would watch it again tomorrow.",
    "Two hours of my life that nobody gives back.",
    "The waiter smiled, and the soup was hot.",
    "The battery died after a day.",
]
SENTENCES = 224
BATCH = 32


def sentences(part: int) -> list[tuple[str, int]]:
    """Sentences of a part (`TRAIN`, `HELD_OUT`) and their labels' numbers, mixed."""
    found = [
        (frame.format(thing=thing, feeling=feeling), LABELS.index(label))
        for label, feelings in FEELINGS.items()
        for thing, feeling, frame in itertools.product(THINGS[part].split(), feelings[part].split(), FRAMES[part])
    ]
    random.Random(part).shuffle(found)
    return found[:SENTENCES]


def load(base: str) -> tuple[Any, Any]:
    """The base below a head that knows nothing yet, and its tokenizer."""
    torch.manual_seed(0)  # the head and the training are drawn by chance; the same each time
    names = dict(enumerate(LABELS))
    numbers = {label: number for number, label in names.items()}
    model = AutoModelForSequenceClassification.from_pretrained(
        base, dtype=torch.float32, id2label=names, label2id=numbers
    )
    return model, AutoTokenizer.from_pretrained(base)


def train(model: Any, tokenizer: Any, *, epochs: int, rate: float) -> Any:
    """The model, trained where it asks for gradients; in evaluation mode."""
    data = sentences(TRAIN)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=rate)
    model.train()
    for _ in range(epochs):
        for at in range(0, len(data), BATCH):
            texts, labels = zip(*data[at : at + BATCH], strict=True)
            encoded = tokenizer(list(texts), padding=True, return_tensors="pt")
            model(**encoded, labels=torch.tensor(labels)).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return model.eval()


def with_head(base: str) -> dict[str, Any]:
    """The components of the base with a trained head; the layers below it stay as they are."""
    model, tokenizer = load(base)
    for part in (model.base_model.embeddings, model.base_model.encoder):
        part.requires_grad_(False)
    return {"model": train(model, tokenizer, epochs=4, rate=2e-3), "tokenizer": tokenizer}


def with_adapter(base: str) -> dict[str, Any]:
    """The components of the base under a trained adapter, which brings its own head."""
    model, tokenizer = load(base)
    config = peft.LoraConfig(task_type=peft.TaskType.SEQ_CLS, r=8, target_modules=["query", "value"])
    return {"model": train(peft.get_peft_model(model, config), tokenizer, epochs=2, rate=3e-3), "tokenizer": tokenizer}


def publish(client: Client, name: str, components: dict[str, Any], path: Path) -> None:
    """Write the artifact, and save it under a name."""
    flavor.save_model(components, path, task="text-classification")
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    weights = ", ".join(sorted(str(file.relative_to(path)) for file in path.rglob("*.safetensors")))
    print(f"{name}: {size / 1e6:.1f} MB, weights in {weights}")
    client.save(name, path).result(timeout=600)


def show(client: Client, name: str) -> None:
    """How well a model does on words that it has not seen, and what it says of a few sentences."""
    texts, truth = zip(*sentences(HELD_OUT), strict=True)
    told = client.predict(name, list(texts)).result(timeout=300)["label"]
    right = sum(label == LABELS[number] for label, number in zip(told, truth, strict=True))
    print(f"{name}: {right / len(truth):.1%} of {len(truth)} held-out sentences are right")
    for text, row in zip(TO_JUDGE, client.predict(name, TO_JUDGE).result(timeout=60), strict=True):
        print(f"    {row['label']}  {row['score']:.2f}  {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--directory", type=Path, default=Path("sentiment-models"))
    options = parser.parse_args()
    directory = options.directory.resolve()
    shutil.rmtree(directory, ignore_errors=True)
    with Client() as client:
        for name, make in {"sentiment": with_head, "sentiment-lora": with_adapter}.items():
            publish(client, name, make(options.model), directory / name)
            show(client, name)


if __name__ == "__main__":
    main()
