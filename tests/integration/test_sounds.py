"""Sounds as rows: whatever they come in, they are the same samples; and nothing is read that a caller may not name."""

from __future__ import annotations

import contextlib
import io
import random
import sys
import wave
from typing import Any

import numpy
import pytest

from tests import sounds
from warmlane.errors import InputTooLong, MissingExtra, SchemaError
from warmlane_workers.tasks import media

RATE = 16_000
#: Container, codec, sampling rate, channels.
FILES = [
    ("wav", "pcm_s16le", 8_000, 2),
    ("wav", "pcm_u8", 22_050, 1),
    ("wav", "pcm_s24le", 96_000, 6),
    ("flac", "flac", 44_100, 2),
    ("mp3", "libmp3lame", 44_100, 2),
    ("ogg", "libopus", 48_000, 2),
    ("mp4", "aac", 44_100, 2),  # m4a
    ("adts", "aac", 32_000, 1),
]


def pitch(samples: Any) -> float:
    """The loudest frequency, in Hz."""
    return float(numpy.abs(numpy.fft.rfft(samples)).argmax() * RATE / len(samples))


@pytest.mark.parametrize(("container", "codec", "rate", "channels"), FILES, ids=lambda value: str(value))
def test_files_of_any_kind_rate_and_channels_are_decoded(container: str, codec: str, rate: int, channels: int) -> None:
    """A tone in any file is the tone: as high, as loud, as long, of one channel at the wanted rate."""
    data = sounds.file([sounds.tone(44_100)] * channels, 44_100, container=container, codec=codec, to=rate)
    heard = media.sound(data, RATE)
    assert heard.dtype == numpy.float32
    assert len(heard) == pytest.approx(RATE, rel=0.1)  # some codecs fill up their last block
    assert pitch(heard) == pytest.approx(sounds.PITCH, abs=1)
    assert numpy.abs(heard[2000:12000]).max() == pytest.approx(sounds.HEIGHT, abs=0.03)


def test_a_file_at_the_wanted_rate_is_taken_sample_by_sample() -> None:
    """Sixteen bits become floats and nothing else happens to them."""
    whole = numpy.arange(-32768, 32768, 7, dtype=numpy.int16)
    heard = media.sound(sounds.file(whole.astype(numpy.float32) / 32768), RATE)
    numpy.testing.assert_array_equal(heard, whole.astype(numpy.float32) / 32768)


@pytest.mark.parametrize(
    ("kind", "middle", "height"), [("int16", 0, 2**15), ("int32", 0, 2**31), ("uint8", 128, 128), ("float64", 0, 1)]
)
def test_samples_of_any_type_are_scaled(kind: str, middle: int, height: int) -> None:
    """Integers stand for the range from -1 to 1, bytes around their middle."""
    samples = (numpy.array([0.5, -0.5, 0.0]) * height + middle).astype(kind)
    assert media.sound(samples, RATE).tolist() == [0.5, -0.5, 0.0]


@pytest.mark.parametrize("axis", [0, 1])
def test_channels_are_averaged_whichever_axis_they_are(axis: int) -> None:
    """(channels, n) and (n, channels) are both in use; the shorter axis is the channels'."""
    left, right = sounds.noise(100, 1), sounds.noise(100, 2)
    heard = media.sound(numpy.stack([left, right], axis=axis), RATE)
    numpy.testing.assert_allclose(heard, (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("key", ["raw", "array"])
def test_a_dict_tells_the_rate_of_its_samples(key: str) -> None:
    """Samples at another rate are resampled, without torchaudio."""
    heard = media.sound({key: sounds.tone(44_100), "sampling_rate": 44_100}, RATE)
    assert len(heard) == pytest.approx(RATE, abs=20)
    assert pitch(heard) == pytest.approx(sounds.PITCH, abs=1)


def test_json_has_samples_as_a_list() -> None:
    """Numbers in a list are samples, where a dict tells their rate."""
    assert media.sound({"array": [0, 0.5], "sampling_rate": RATE}, RATE).tolist() == [0.0, 0.5]


@pytest.mark.parametrize(
    "bad",
    [
        *(b"", b"no sound", 7, None, ["a"], numpy.zeros((3, 3, 3)), numpy.zeros((20, 20)), numpy.array(["a"])),
        *(numpy.zeros(0), numpy.array([0.0, float("nan")]), {"array": numpy.zeros(9)}, {"sampling_rate": RATE}),
        *({"array": numpy.zeros(9), "sampling_rate": 3}, {"array": b"wav", "sampling_rate": RATE}),
        *({"array": ["a"], "sampling_rate": RATE}, {"array": numpy.zeros(9), "sampling_rate": RATE, "stride": 1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_sound_is_refused(bad: Any) -> None:
    """By the kind of its fault, before a model sees it."""
    with pytest.raises(SchemaError):
        media.sound(bad, RATE)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{path}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {path}\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
    ],
    ids=["hls", "concat", "sdp"],
)
def test_a_play_list_opens_no_other_file(text: str, tmp_path: Any) -> None:
    """A row that names files of the worker in a language of FFmpeg's is no sound."""
    secret = tmp_path / "secret.wav"
    secret.write_bytes(sounds.file(sounds.tone()))
    with pytest.raises(SchemaError, match="decoded"):
        media.sound(text.format(path=secret).encode(), RATE)


@pytest.mark.parametrize(("channels", "rate"), [(12, RATE), (1, 1)])
def test_a_file_of_too_many_channels_or_too_low_a_rate_is_refused(channels: int, rate: int) -> None:
    """The first would crash the decoder's reader of arrays, the second fill the memory."""
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(24_000))
    with pytest.raises(SchemaError):
        media.sound(data.getvalue(), RATE)


@pytest.mark.parametrize(("container", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("mp3", "libmp3lame")])
def test_damaged_files_are_refused_and_nothing_worse(container: str, codec: str) -> None:
    """Bytes changed at random are heard as something, or refused as no sound."""
    pick = random.Random(0)
    good = sounds.file(sounds.tone(44_100, 0.1), 44_100, container=container, codec=codec)
    for _ in range(100):
        data = bytearray(good)
        for _ in range(pick.choice([1, 10])):
            data[pick.randrange(pick.choice([64, len(data)]))] = pick.randrange(256)
        with contextlib.suppress(SchemaError):
            assert media.sound(bytes(data), RATE).ndim == 1


def test_a_worker_without_pyav_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples at the model's rate need no decoder."""
    monkeypatch.setitem(sys.modules, "av", None)
    assert len(media.sound(sounds.noise(100), RATE)) == 100
    with pytest.raises(MissingExtra, match="pip install av"):
        media.sound(sounds.noise(100), RATE, given=8_000)


def test_a_file_that_unpacks_to_too_much_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence packs well: the length is counted while it is unpacked."""
    monkeypatch.setattr(media, "MAX_SOUND_S", 2)
    data = sounds.file(numpy.zeros(RATE * 9, numpy.float32), container="flac", codec="flac")
    with pytest.raises(InputTooLong, match="longer than 2 s"):
        media.sound(data, RATE)
