"""Pictures as rows, in process: each row's classes are those that the bare pipeline gives to it alone."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy
import pytest
from PIL import Image

from tests import tiny_media as models
from tests.fleet import SHARED
from tests.inprocess import Served, seeded
from warmlane.errors import InvalidParams, SchemaError
from warmlane.results import NDArray, Table
from warmlane_workers.tasks import media

RESNET = SHARED / "models" / "resnet18-imagenet"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whose files rows may name."""
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("served"), roots=(folder,)) as made:
        made.add("vit", "image-classification", seeded(models.image_classification))
        yield made


def pixels(width: int = 40, height: int = 30, seed: int = 0) -> Any:
    """(height, width, 3)"""
    return numpy.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=numpy.uint8)


def file(picture: Any, kind: str = "PNG", **options: Any) -> bytes:
    """A picture, or pixels, as a file."""
    stream = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(stream, kind, **options)
    return stream.getvalue()


def test_pictures_of_many_jobs_have_the_classes_of_each_alone(served: Served) -> None:
    """Pictures of any sizes share batches, within and across jobs; a list has one row a picture, best class first."""
    rows = [pixels(10 + seed % 50, 80 - seed % 70, seed) for seed in range(200)]
    expected = [served.bare["vit"](Image.fromarray(row)) for row in rows]
    answers = [
        row
        for table in served.at_once("vit", [rows[:1], rows[1:4], rows[4:68], rows[68:100], rows[100:]])
        for row in table
    ]
    assert [row["label"] for row in answers] == [[label["label"] for label in labels] for labels in expected]
    for row, labels in zip(answers, expected, strict=True):
        assert row["score"] == pytest.approx([label["score"] for label in labels], abs=1e-4)
    assert len({row["label"][0] for row in answers}) > 1


def test_a_single_picture_has_one_row_a_class(served: Served) -> None:
    """As in the guide's table: columns label and score."""
    answer = served.predict("vit", file(pixels()))
    assert list(answer.columns) == ["label", "score"]
    assert answer["label"] == [label["label"] for label in served.bare["vit"](Image.fromarray(pixels()))]
    assert len(served.predict("vit", file(pixels()), top_k=1)) == 1


def test_each_form_of_a_picture_is_the_same_picture(served: Served, folder: Path) -> None:
    """Bytes, base64, a path, pixels: one answer."""
    data = file(pixels())
    (folder / "picture.png").write_bytes(data)
    forms = [
        *(data, base64.b64encode(data).decode(), "data:image/png;base64," + base64.b64encode(data).decode()),
        *(str(folder / "picture.png"), pixels(), pixels() / 255),
        NDArray("uint8", pixels().shape, pixels().tobytes()),
    ]
    expected = served.predict("vit", forms[0])
    for form in forms:
        assert served.predict("vit", form) == expected
    for table in (Table({"whatever": forms}), forms):
        for score in served.predict("vit", table)["score"]:
            assert score == pytest.approx(list(expected["score"]), abs=1e-5)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def test_a_url_is_a_picture_where_the_worker_allows_it(tmp_path: Path, folder: Path) -> None:
    """The engine tells its tasks whether it does; `test_reach.py` has what is refused."""
    (folder / "served.png").write_bytes(file(pixels()))
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as site,
        Served(tmp_path, url_inputs=True) as served,
    ):
        served.add("vit", "image-classification", seeded(models.image_classification))
        thread = Thread(target=site.serve_forever)
        thread.start()
        answer = served.predict("vit", f"http://127.0.0.1:{site.server_address[1]}/served.png")
        site.shutdown()
        thread.join()
        assert answer == served.predict("vit", file(pixels()))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_files_of_any_kind_are_read(kind: str) -> None:
    """Always as red, green and blue."""
    read = media.picture(file(numpy.full((30, 40, 3), 200, numpy.uint8), kind))
    assert (read.mode, read.size) == ("RGB", (40, 30))
    assert numpy.asarray(read)[10, 10] == pytest.approx(200, abs=3)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_colours_of_any_kind_become_red_green_and_blue(mode: str) -> None:
    """Grey, see-through, from a palette, or for print."""
    data = file(Image.new("RGB", (8, 8), "white").convert(mode), "TIFF")
    assert numpy.asarray(media.picture(data)).min() == 255


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled_and_not_cut_off(kind: str) -> None:
    """A third of the way to white is that in 8 bits, too."""
    data = file(numpy.full((8, 8), 65_535 // 3, numpy.uint16), kind)
    assert numpy.asarray(media.picture(data))[0, 0].tolist() == [85, 85, 85]


def test_more_than_16_bits_a_pixel_are_refused() -> None:
    """Nobody says what is white in them."""
    with pytest.raises(SchemaError, match="16 bits"):
        media.picture(file(numpy.full((8, 8), 1e6, numpy.float32), "TIFF"))


def test_a_picture_is_turned_as_its_camera_was_held() -> None:
    """A camera writes down how it was held, and not the pixels in their order."""
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: a quarter turn
    assert media.picture(file(pixels(40, 30), "JPEG", exif=exif)).size == (30, 40)


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 3), (30, 40, 4)])
def test_pixels_are_grey_coloured_or_see_through(shape: tuple[int, ...]) -> None:
    """Height first."""
    assert media.picture(numpy.zeros(shape, numpy.uint8)).size == (40, 30)


@pytest.mark.parametrize(
    "bad",
    [
        *(
            b"",
            b"no picture",
            7,
            None,
            ["a"],
            file(pixels())[:200],
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        ),
        *(pixels()[:, :, :2], pixels().astype(numpy.int32), pixels().astype(float), pixels()[:0], numpy.zeros(9)),
        *(numpy.full((9, 9), numpy.nan), "/etc/hostname", "http://127.0.0.1:1/a.png"),
    ],
    ids=range(15),
)
def test_what_is_no_picture_is_refused(served: Served, bad: Any) -> None:
    """By the kind of its fault, before a model sees it."""
    with pytest.raises(SchemaError):
        served.predict("vit", {"image": bad})


def test_a_file_that_unpacks_to_too_much_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture's size stands in its first bytes."""
    monkeypatch.setattr(media, "MAX_PIXELS", 1199)
    with pytest.raises(SchemaError, match="more than 1199 pixels"):
        media.picture(file(pixels(40, 30))[:100])


@pytest.mark.parametrize("params", [{"top_k": 0}, {"top_k": "all"}, {"function_to_apply": "x"}, {"timeout": 1.0}])
def test_parameters_are_checked_before_anything_is_seen(served: Served, params: dict[str, Any]) -> None:
    """What the pipeline cannot do is refused by name; URLs have their own time limit."""
    with pytest.raises(InvalidParams):
        served.predict("vit", pixels(), **params)


if RESNET.is_dir():  # beside the project, on the machines of its developers and of CI

    def test_a_cat_is_a_cat(served: Served) -> None:
        """Trained weights on a photograph."""
        served.add_directory("resnet", RESNET, "image-classification")
        answer = served.predict("resnet", (SHARED / "data" / "chelsea.png").read_bytes())
        assert "cat" in answer["label"][0]
        assert sum(score for name, score in zip(answer["label"], answer["score"], strict=True) if "cat" in name) > 0.9
