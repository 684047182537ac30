"""Sounds as samples and pictures as pixels, whatever they came in. No program of the system is called for it.

Sounds are decoded and resampled by PyAV, whose wheels carry their codecs: wav, flac, mp3, ogg, m4a, …, at any rate, of
any number of channels. Pictures are read by Pillow.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy
from numpy.typing import NDArray as Array

from warmlane.errors import InputTooLong, MissingExtra, SchemaError
from warmlane.results import NDArray
from warmlane_workers.tasks.reach import NOWHERE, Reach

if TYPE_CHECKING:
    import av
    from PIL import Image

Samples = Array[numpy.float32]

#: The longest sound, in seconds: a small file may unpack to days of silence.
MAX_SOUND_S = 3600
#: Most pixels of a picture: a small file may unpack to any number.
MAX_PIXELS = 80_000_000
#: White, in 16 bits.
_WHITE_16 = 65_535
#: Sampling rates that are no mistake, in Hz.
RATES = (1_000, 768_000)
_MAX_CHANNELS = 8
#: What FFmpeg may take a row for. Without this list it could be a play list, which names files of the worker.
_CONTAINERS = "wav,w64,aiff,au,flac,mp3,ogg,mov,aac,ac3,amr,asf,caf,matroska"
#: What Pillow may take a row for; others call programs of the system.
_PICTURES = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")

#: What Pillow raises of files that are damaged, each reader its own.
_PILLOW_SAYS = (OSError, EOFError, ValueError, TypeError, LookupError, OverflowError, SyntaxError, struct.error)


def sound(value: Any, rate: int, *, given: int | None = None, reach: Reach = NOWHERE) -> Samples:
    """A sound as samples (n,) between -1 and 1, of one channel.

    Args:
        value: bytes of a file, or a str as `Reach.read` takes it; or samples (n,), (channels, n) or (n, channels); or
            a dict of samples under `raw` or `array` and their `sampling_rate`. Samples that are integers are scaled.
        rate: the sampling rate of the result, in Hz.
        given: that of samples which do not tell theirs; None: it is `rate`.

    Raises:
        SchemaError: it is none of them, or cannot be decoded.
        InputTooLong: longer than `MAX_SOUND_S`.
        MissingExtra: PyAV is not installed.
    """
    if isinstance(value, Mapping):
        value, given = _told(value)
    if isinstance(value, str | bytes):
        samples = _decode(reach.read(value), rate)
    elif isinstance(value, numpy.ndarray | NDArray):
        samples = _resample(_mono(numpy.asarray(value)), checked_rate(given or rate), rate)
    else:
        raise SchemaError(
            "a sound is bytes, a str (base64, path or URL), an array of samples, or a dict of samples with their "
            "'sampling_rate'",
            field="inputs",
        )
    if not samples.size:
        raise SchemaError("a sound without samples", field="inputs")
    if not numpy.isfinite(samples).all():
        raise SchemaError("samples of a sound that are no finite numbers", field="inputs")
    return samples


def checked_rate(value: Any) -> int:
    """A sampling rate in Hz.

    Raises:
        SchemaError: it is none.
    """
    if type(value) is not int or not RATES[0] <= value <= RATES[1]:
        raise SchemaError(
            f"sampling_rate: a whole number of Hz from {RATES[0]} to {RATES[1]}", field="inputs.sampling_rate"
        )
    return value


def _told(value: Mapping[str, Any]) -> tuple[Any, int]:
    """The samples of a dict, and their rate. `path` is where a data set has them from, and is not read."""
    names = {"raw", "array"} & set(value)
    if len(names) != 1 or set(value) - names - {"path"} != {"sampling_rate"}:
        raise SchemaError("a dict has samples under 'raw' or 'array', and their 'sampling_rate'", field="inputs")
    samples = value[names.pop()]
    if isinstance(samples, list):
        try:
            samples = numpy.asarray(samples, dtype=numpy.float32)
        except (TypeError, ValueError) as exc:
            raise SchemaError("samples are numbers", field="inputs") from exc
    if isinstance(samples, str | bytes):
        raise SchemaError("samples are an array or a list of numbers; a file tells its own rate", field="inputs")
    return samples, checked_rate(value["sampling_rate"])


def _mono(samples: Array[Any]) -> Samples:
    """Samples of any layout as floats of one channel: the mean of all."""
    if samples.dtype.kind in "iu":
        info = numpy.iinfo(samples.dtype)
        middle, reach = (0, -int(info.min)) if info.min else (info.max // 2 + 1, info.max // 2 + 1)
        samples = (samples.astype(numpy.float64) - middle) / reach
    elif samples.dtype.kind != "f":
        raise SchemaError("samples are floats between -1 and 1, or integers", field="inputs")
    if samples.ndim == 2 and min(samples.shape) <= _MAX_CHANNELS:
        samples = samples.mean(axis=int(samples.shape[1] < samples.shape[0]))  # the shorter axis is the channels'
    if samples.ndim != 1:
        raise SchemaError("samples have the shape (n,), (channels, n) or (n, channels)", field="inputs")
    return numpy.ascontiguousarray(samples, dtype=numpy.float32)


def _av() -> Any:
    try:
        import av
    except ImportError as exc:
        raise MissingExtra("sounds are decoded by PyAV, which the worker lacks: pip install av") from exc
    return av


def _decode(data: bytes, rate: int) -> Samples:
    library = _av()
    #: Neither a play list's files nor a file's references to others are opened.
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "pipe"}
    try:
        with library.open(io.BytesIO(data), options=options, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise SchemaError("a file without a sound track", field="inputs")
            resampler = library.AudioResampler(format="flt", rate=rate)
            return _joined(_resampled(resampler, container.decode(container.streams.audio[0])), rate)
    except (library.FFmpegError, ValueError, RuntimeError) as exc:
        raise SchemaError(
            f"a sound cannot be decoded ({type(exc).__name__}); send wav, flac, mp3, ogg or m4a", field="inputs"
        ) from exc


def _resample(samples: Samples, given: int, rate: int) -> Samples:
    if given == rate or not samples.size:
        return samples
    library = _av()
    frame = library.AudioFrame.from_ndarray(samples[None, :], format="flt", layout="mono")
    frame.sample_rate = given
    return _joined(_resampled(library.AudioResampler(format="flt", rate=rate), [frame]), rate)


def _resampled(resampler: av.AudioResampler, frames: Any) -> Iterator[Samples]:
    """Frames at another rate, each as its one channel (n,); at the end what the resampler holds back."""
    seen = False
    for frame in frames:
        # PyAV reads beyond the end of its list of channels where there are more than these.
        if not 1 <= frame.layout.nb_channels <= _MAX_CHANNELS:
            raise SchemaError(f"a sound has more than {_MAX_CHANNELS} channels", field="inputs")
        checked_rate(frame.sample_rate)
        seen = True
        frame.pts = None  # gaps and overlaps that a file claims are not filled in
        yield from map(_one_channel, resampler.resample(frame))
    if seen:
        yield from map(_one_channel, resampler.resample(None))


def _one_channel(frame: av.AudioFrame) -> Samples:
    packed = numpy.asarray(frame.to_ndarray(), dtype=numpy.float32)  # (1, n x channels)
    mean: Samples = packed.reshape(-1, frame.layout.nb_channels).mean(axis=1)
    return mean


def _joined(pieces: Iterator[Samples], rate: int) -> Samples:
    found: list[Samples] = []
    left = MAX_SOUND_S * rate
    for piece in pieces:
        found.append(piece)
        left -= len(piece)
        if left < 0:
            raise InputTooLong(f"a sound is longer than {MAX_SOUND_S} s; cut it", limit=MAX_SOUND_S)
    return numpy.concatenate(found) if found else numpy.zeros(0, numpy.float32)


def picture(value: Any, *, reach: Reach = NOWHERE) -> Image.Image:
    """A picture in red, green and blue, turned as its camera was held.

    Args:
        value: bytes of a file, or a str as `Reach.read` takes it; or pixels (height, width), (height, width, 3) or
            (height, width, 4), bytes or floats between 0 and 1.

    Raises:
        SchemaError: it is none of them, or cannot be read.
    """
    from PIL import Image, ImageOps

    if isinstance(value, numpy.ndarray | NDArray):
        return Image.fromarray(_pixels(numpy.asarray(value))).convert("RGB")
    if not isinstance(value, str | bytes):
        raise SchemaError(
            "a picture is bytes, a str (base64, path or URL), or an array (height, width, 3)", field="inputs"
        )
    data = reach.read(value)
    try:
        opened = Image.open(io.BytesIO(data), formats=_PICTURES)  # reads the size, not the pixels
        if opened.width * opened.height > MAX_PIXELS:
            raise SchemaError(f"a picture has more than {MAX_PIXELS} pixels", field="inputs")
        return _eight_bits(ImageOps.exif_transpose(opened)).convert("RGB")
    except (*_PILLOW_SAYS, Image.DecompressionBombError) as exc:
        raise SchemaError(
            f"a picture cannot be read ({type(exc).__name__}); send PNG, JPEG, WebP, GIF, BMP or TIFF", field="inputs"
        ) from exc


def _eight_bits(picture: Image.Image) -> Image.Image:
    """A picture of 16 bits a pixel in 8, scaled: Pillow's own conversion makes white of all that is above 255."""
    from PIL import Image

    if not picture.mode.startswith(("I", "F")):
        return picture
    grey = numpy.asarray(picture)
    if picture.mode == "F" or grey.min() < 0 or grey.max() > _WHITE_16:
        raise SchemaError("a picture of more than 16 bits a pixel; send 8 or 16", field="inputs")
    return Image.fromarray((grey / (_WHITE_16 / 255)).round().astype(numpy.uint8))


def _pixels(array: Array[Any]) -> Array[numpy.uint8]:
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or 0 in array.shape:
        raise SchemaError("pixels have the shape (height, width), (height, width, 3) or (…, 4)", field="inputs")
    if array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1:  # not true of nan either
        return (array * 255).round().astype(numpy.uint8)
    if array.dtype.name != "uint8":
        raise SchemaError("pixels are uint8, or floats between 0 and 1", field="inputs")
    return array
