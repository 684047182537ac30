"""Sounds for tests, as samples and as files of every kind."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy

#: Of a tone: its pitch in Hz and its height.
PITCH, HEIGHT = 440.0, 0.4


def tone(rate: int = 16_000, seconds: float = 1.0, pitch: float = PITCH) -> Any:
    """Samples (n,) of a sine."""
    times = numpy.arange(int(rate * seconds)) / rate
    return (HEIGHT * numpy.sin(2 * numpy.pi * pitch * times)).astype(numpy.float32)


def noise(count: int, seed: int = 0) -> Any:
    """Samples (count,) of a sound that is like no other."""
    return numpy.random.default_rng(seed).uniform(-0.5, 0.5, count).astype(numpy.float32)


def file(samples: Any, rate: int = 16_000, *, container: str = "wav", codec: str = "pcm_s16le", to: int = 0) -> bytes:
    """A file of one channel (n,) or several (channels, n).

    Args:
        to: the sampling rate of the file; 0: that of the samples.
    """
    channels = numpy.atleast_2d(samples)
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(channels)]
    target = io.BytesIO()
    with av.open(target, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=to or rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(numpy.ascontiguousarray(channels), format="fltp", layout=layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=to or rate)
        for made in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(made))
        output.mux(stream.encode(None))
    return target.getvalue()
