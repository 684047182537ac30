"""Token classification: a text to the tags of its tokens, or of its entities."""

from __future__ import annotations

from warmlane_workers.tasks.text import TextTask


class TokenClassification(TextTask):
    """Result: a list of str, the tags of each text between commas; "" of a text without entities.

    `output="native"` gives each entity with its score, its word and where it stands.
    """

    allowed = frozenset({"aggregation_strategy", "ignore_labels", "stride", "is_split_into_words", "delimiter"})
