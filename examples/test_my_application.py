"""How an application tests its own code: a real client over a lane in memory, without Redis and without torch."""

from __future__ import annotations

import pytest

from warmlane import Client, Table
from warmlane.errors import SchemaError
from warmlane.testing import FakeLane


def mood(client: Client, text: str) -> str:
    """The application: one word for a text."""
    table = client.predict("sentiment", [text]).result(timeout=5)
    return "happy" if table["label"][0] == "POSITIVE" else "sad"


def sentiment(inputs: list[str], params: dict[str, object]) -> Table:
    """What the model would answer."""
    labels = ["POSITIVE" if "great" in text else "NEGATIVE" for text in inputs]
    return Table({"label": labels, "score": [0.9] * len(labels)})


@pytest.fixture
def lane() -> FakeLane:
    lane = FakeLane()
    lane.answer("sentiment", sentiment, task="text-classification")
    return lane


def test_a_great_day_is_happy(lane: FakeLane) -> None:
    """The application reads the model's answer."""
    assert mood(lane.client(), "a great day") == "happy"


def test_a_number_is_refused_before_it_is_enqueued(lane: FakeLane) -> None:
    """The fake checks inputs as the real client does, and remembers what was enqueued."""
    with pytest.raises(SchemaError):
        lane.client().predict("sentiment", [42])
    assert lane.jobs == []
