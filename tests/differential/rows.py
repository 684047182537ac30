"""Random rows: what a job sends, and how the bare pipeline is called with the same."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from tests import tiny

Params = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A row as it is sent, and the arguments of the bare pipeline's call."""

    sent: Any
    args: tuple[Any, ...] = ()
    kwargs: Params = field(default_factory=dict)


#: What texts are made of beside plain words: capitals, accents, other scripts, signs, spaces of all kinds.
_STRANGE = (
    *("CAT", "Dog's", "naïve", "café", "Straße", "日本語", "кот", "שלום", "قطة", "🙂", "👩‍👩‍👧", "\u200b", "e\u0301"),
    *("3.14", "a-b", "?!", "...", "<b>", "&amp;", "\\n", "\n", "\t", "  ", '"', "{}", "%s", "[x]", "ﬁ"),
    *("[SEP]", "[MASK]", "[PAD]", "</s>", "<|endoftext|>"),
)
#: Texts of next to nothing.
EMPTYISH = ("", " ", "\n", "\t ", ".", "\u200b", "a")


def words(pick: Random, count: int) -> list[str]:
    """Words of one text; one in seven is a strange one."""
    return [pick.choice(_STRANGE) if pick.random() < 1 / 7 else pick.choice(tiny.WORDS) for _ in range(count)]


def text(pick: Random, tokenizer: Any, most: int, *, least: int = 1, emptyish: bool = True) -> str:
    """A text of at most `most` tokens, special ones included; as likely short as long, sometimes up to the very limit.

    Args:
        least: fewest tokens. A text of fewer is drawn again.
        emptyish: whether it may be next to nothing.
    """
    while True:
        wanted = pick.choice((most, pick.randint(1, most), pick.randint(1, max(1, most // 4))))
        made = words(pick, wanted)
        if emptyish and pick.random() < 0.05:
            made = [pick.choice(EMPTYISH)]
        while len(made) > 1 and _tokens(tokenizer, " ".join(made)) > wanted:
            made.pop()
        found = " ".join(made)
        if least <= _tokens(tokenizer, found) <= most:
            return found


def _tokens(tokenizer: Any, value: str) -> int:
    return len(tokenizer(value)["input_ids"])


_MODES = ("RGB", "RGB", "L", "RGBA", "P", "1", "LA", "CMYK")


def picture(pick: Random) -> tuple[bytes, Any]:
    """A picture of any size and kind of colours: its file, and what the bare pipeline takes, in red, green and blue."""
    size = pick.randint(36, 68), pick.randint(36, 68)
    pixels = np.random.default_rng(pick.getrandbits(32)).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    made = Image.fromarray(pixels).convert(pick.choice(_MODES))
    file = io.BytesIO()
    made.save(file, format="TIFF" if made.mode == "CMYK" else "PNG")
    return file.getvalue(), made.convert("RGB")


def sound(pick: Random, least: int = 400, most: int = 8000) -> Any:
    """Samples (n,) at 16 kHz: two tones and noise; a few lengths come often, so that sounds meet in batches."""
    count = pick.choice((1600, 3200, pick.randint(least, most)))
    times = np.arange(count) / 16_000
    tones = sum(pick.random() * np.sin(2 * np.pi * pick.uniform(80, 4000) * times) for _ in range(2))
    noise = np.random.default_rng(pick.getrandbits(32)).normal(0, 0.1, count)
    return ((tones + noise) / 3).astype(np.float32)


def table(pick: Random) -> dict[str, list[str]]:
    """Columns by name."""
    names, count = pick.sample(tiny.WORDS, pick.randint(1, 3)), pick.randint(1, 4)
    return {name: [pick.choice((*tiny.WORDS, "12", "3")) for _ in range(count)] for name in names}
