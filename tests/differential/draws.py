"""One random row for a pipeline of each kind, called with a job's params."""

from __future__ import annotations

from random import Random
from typing import Any

from tests import tiny
from tests.differential import rows
from tests.differential.rows import Asked, Params

# -- texts -----------------------------------------------------------------------------------------------------------


def text(pick: Random, pipe: Any, params: Params, **options: Any) -> Asked:
    """Up to the model's limit; far beyond where it is cut."""
    most = tiny.POSITIONS * 2 if params.get("truncation") else tiny.POSITIONS
    made = rows.text(pick, pipe.tokenizer, most, **options)
    return Asked(made, (made,))


def text_or_pair(pick: Random, pipe: Any, params: Params) -> Asked:
    if pick.random() < 0.5:
        return text(pick, pipe, params)
    one, other = (rows.text(pick, pipe.tokenizer, tiny.POSITIONS // 2) for _ in range(2))
    return Asked({"text": one, "text_pair": other}, ({"text": one, "text_pair": other},))


def masked(pick: Random, pipe: Any, params: Params) -> Asked:
    pieces = rows.text(pick, pipe.tokenizer, tiny.POSITIONS - 6, emptyish=False).split(" ")
    for _ in range(pick.choice((1, 1, 1, 2))):
        pieces.insert(pick.randint(0, len(pieces)), pipe.tokenizer.mask_token)
    made = " ".join(pieces)
    return Asked(made, (made,))


def zero_shot(pick: Random, pipe: Any, params: Params) -> Asked:
    made = rows.text(pick, pipe.tokenizer, tiny.POSITIONS // 2, emptyish=False)
    labels = pick.sample(tiny.WORDS, pick.randint(1, 5))
    own = {"hypothesis_template": pick.choice(("a {}", "very {} !"))} if pick.random() < 0.5 else {}
    sequences: Any = made if pick.random() < 0.8 else [made, "a cat"]
    return Asked({"sequences": sequences, "candidate_labels": labels, **own}, (sequences, labels), own)


def prompt(pick: Random, pipe: Any, params: Params) -> Asked:
    """With room for what follows, and at least one token."""
    most = params.get("max_length", tiny.POSITIONS) - params.get("max_new_tokens", 1)
    made = rows.text(pick, pipe.tokenizer, most)
    return Asked(made, (made,))


def said(pick: Random, pipe: Any, params: Params) -> Asked:
    said = [rows.text(pick, pipe.tokenizer, 24) for _ in range(pick.choice((1, 1, 3, 5)))]
    messages = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(said)]
    sent: Any = said[0] if len(said) == 1 and pick.random() < 0.5 else messages
    return Asked(sent, (sent,))


def question(pick: Random, pipe: Any, params: Params) -> Asked:
    """Most contexts fit; some are read in several windows."""
    question = rows.text(pick, pipe.tokenizer, 16, least=3, emptyish=False).strip() or "who"
    context = rows.text(pick, pipe.tokenizer, pick.choice((40, 40, 150)), least=3, emptyish=False).strip() or "cat"
    return Asked({"question": question, "context": context}, kwargs={"question": question, "context": context})


def table(pick: Random, pipe: Any, params: Params) -> Asked:
    asked = [" ".join(pick.choices(tiny.WORDS, k=pick.randint(1, 8))) for _ in range(pick.choice((1, 1, 1, 3)))]
    row = {"table": rows.table(pick), "query": asked if len(asked) > 1 else asked[0]}
    return Asked(row, kwargs=row)


def decision(pick: Random, pipe: Any, params: Params) -> Asked:
    questions = {"size": {"type": "noul", "instructions": pick.choice(tiny.WORDS) + "?"}}
    row = {"state": rows.text(pick, pipe.tokenizer, 12), "questions": questions}
    return Asked(row, (row,))


def letters(pick: Random, pipe: Any, params: Params) -> Asked:
    made = " ".join(pick.choices(tiny.WORDS, k=pick.randint(1, 8)))
    return Asked(made, (made,))


# -- pictures and sounds ---------------------------------------------------------------------------------------------


def picture(pick: Random, pipe: Any, params: Params) -> Asked:
    file, made = rows.picture(pick)
    return Asked(file, (made,))


def labelled_picture(pick: Random, pipe: Any, params: Params) -> Asked:
    file, made = rows.picture(pick)
    labels = pick.sample(tiny.WORDS, pick.randint(1, 4))
    return Asked({"image": file, "candidate_labels": labels}, (made,), {"candidate_labels": labels})


def document(pick: Random, pipe: Any, params: Params) -> Asked:
    file, made = rows.picture(pick)
    boxes = [
        [word, [at * 9, 0, at * 9 + 8, 9]] for at, word in enumerate(pick.choices(tiny.WORDS, k=pick.randint(2, 20)))
    ]
    own = {"question": " ".join(pick.choices(tiny.WORDS, k=4)), "word_boxes": boxes}
    return Asked({"image": file, **own}, (made,), own)


def picture_and_text(pick: Random, pipe: Any, params: Params) -> Asked:
    file, made = rows.picture(pick)
    text = "<image> " + " ".join(pick.choices(tiny.WORDS, k=pick.randint(1, 12)))
    return Asked({"images": file, "text": text}, (made,), {"text": text})


def two_pictures(pick: Random, pipe: Any, params: Params) -> Asked:
    (one, first), (other, second) = rows.picture(pick), rows.picture(pick)
    return Asked({"images": [one, other]}, ([first, second],))


def sound(pick: Random, pipe: Any, params: Params) -> Asked:
    made = rows.sound(pick)
    return Asked(made, (made,))


def labelled_sound(pick: Random, pipe: Any, params: Params) -> Asked:
    made, labels = rows.sound(pick), pick.sample(tiny.WORDS, pick.randint(1, 4))
    return Asked({"audio": made, "candidate_labels": labels}, (made,), {"candidate_labels": labels})
