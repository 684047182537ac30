"""Video classification: a film to labels with scores. Some of its frames are seen, equally far from each other."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from warmlane.errors import MissingExtra, SchemaError
from warmlane.results import NDArray
from warmlane_workers.tasks.base import Plan
from warmlane_workers.tasks.params import Kind, whole
from warmlane_workers.tasks.pipeline import PipelineTask

#: What FFmpeg may take a row for: no play list, which names other files.
_CONTAINERS = "mov,mp4,matroska,webm,avi,mpegts,ogg,gif"
#: Most frames that are seen of a film.
_MAX_FRAMES = 1024


class VideoClassification(PipelineTask):
    """Result: a list of `{"label", "score"}` a film, best first.

    A row is a film: bytes of a file, or a str as `Reach.read` takes it; or an array (frames, height, width, 3) of
    uint8. Parameters `num_frames` (default: what the model was made for) and `frame_sampling_rate` say which are seen.
    """

    allowed = frozenset({"top_k", "num_frames", "frame_sampling_rate", "function_to_apply"})

    def kind_of(self, name: str) -> Kind | None:
        return whole(1, _MAX_FRAMES) if name in ("num_frames", "frame_sampling_rate") else super().kind_of(name)

    def read(self, row: Any, plan: Plan) -> Any:
        count = plan.prepare.get("num_frames") or self.model.config.num_frames
        last = count * plan.prepare.get("frame_sampling_rate", 1) - 1
        wanted = [int(place) for place in numpy.linspace(0, last, num=count)]
        if isinstance(row, str | bytes):
            frames = _decoded(self.reach.read(row), wanted)
        elif isinstance(row, numpy.ndarray | NDArray):
            film = numpy.asarray(row)
            if film.ndim != 4 or film.shape[-1] != 3 or film.dtype.name != "uint8":
                raise SchemaError("a film is an array (frames, height, width, 3) of uint8", field="inputs")
            frames = [film[place] for place in wanted if place < len(film)]
        else:
            raise SchemaError("a film is bytes, a str (base64, path or URL), or an array of frames", field="inputs")
        if len(frames) < count:
            raise SchemaError(f"a film is too short: {count} frames are to be seen", field="inputs")
        return frames

    def items(self, row: Any, plan: Plan) -> list[Mapping[str, Any]]:
        if self.pipeline.video_processor is None:
            made = self.pipeline.image_processor(row, return_tensors="pt")
        else:
            made = self.pipeline.video_processor(numpy.stack(row), do_sample_frames=False, return_tensors="pt")
        return [made.to(self.pipeline.dtype)]


def _decoded(data: bytes, wanted: Sequence[int]) -> list[Any]:
    """The wanted frames of a film, each (height, width, 3)."""
    try:
        import av
    except ImportError as exc:
        raise MissingExtra("films are decoded by PyAV, which the worker lacks: pip install av") from exc
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "pipe"}
    found: dict[int, Any] = {}
    try:
        with av.open(io.BytesIO(data), "r", options=options, metadata_errors="ignore") as film:
            if not film.streams.video:
                raise SchemaError("a file without pictures", field="inputs")
            for number, frame in enumerate(film.decode(video=0)):
                if number > wanted[-1]:
                    break
                if number in wanted:
                    found[number] = frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, ValueError, RuntimeError) as exc:
        raise SchemaError(
            f"a film cannot be decoded ({type(exc).__name__}); send mp4, mov, mkv, webm or avi", field="inputs"
        ) from exc
    return [found[place] for place in wanted if place in found]
