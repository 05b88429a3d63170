"""The limits of picture formats: what one cannot hold is dropped and said, or refused with advice; never a defect."""

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from nicodec import errors
from nicodec.image.files import FORMATS, read_picture, write_picture
from nicodec.image.fitting import BLOCKS, SIDES
from nicodec.image.picture import Picture

PIXELS = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)


def exif(**tags):
    block = Image.Exif()
    for tag, value in tags.items():
        block[int(tag[1:])] = value
    return block.tobytes()


BIG = {
    "exifbig.png": {"exif": exif(_271="a maker", _34665={37500: bytes(70_000)})},
    "xmpbig.png": {"xmp": b"<x>" + b" " * 70_000},
}


@pytest.mark.parametrize("name", BIG)
def test_metadata_too_large_for_jpeg(inside, tmp_path, name):
    """By the command: the rest of the picture is written, and the loss is a warning."""
    (field, block), *_ = BIG[name].items()
    (tmp_path / name).write_bytes(write_picture(Picture(PIXELS, **BIG[name]), ".png")[0])
    assert inside("encode", name, "-o", "a.nic", "--model", "tiny", "--device", "cpu")[0] == 0
    code, _, err = inside("decode", "a.nic", "-o", "a.jpg", "--device", "cpu", "--json")
    (warning,) = json.loads(err)["warnings"]
    assert code == 0
    assert f"of {field.upper()}, the picture has {len(block)}: dropped" in warning
    assert getattr(read_picture((tmp_path / "a.jpg").read_bytes()), field) is None
    for suffix in ("png", "webp", "tif", "avif"):
        code, _, err = inside("decode", "a.nic", "-o", f"a.{suffix}", "--device", "cpu")
        assert (code, "warning" in err) == (0, False)
        kept = getattr(read_picture((tmp_path / f"a.{suffix}").read_bytes()), field)
        assert kept == block if field == "xmp" else b"a maker" in kept and bytes(70_000) in kept


@pytest.mark.parametrize(("kind", "name"), BLOCKS)
def test_the_largest_block_is_written_and_a_byte_more_is_not(kind, name):
    limit, suffix = BLOCKS[kind, name], f".{kind.lower()}"
    head = {"exif": exif(_271="a maker"), "xmp": b"<x>", "icc": b""}[name]
    for size, held in ((limit, True), (limit + 1, False)):
        block = head + bytes(size - len(head)) if name != "xmp" else head.ljust(size)
        data, notes = write_picture(Picture(PIXELS, **{name: block}), suffix)
        assert (getattr(read_picture(data), name) is not None, len(notes)) == (held, not held)


@pytest.mark.parametrize("kind", SIDES)
def test_the_longest_side_is_written_and_a_pixel_more_is_refused(kind):
    for shape in ((1, SIDES[kind], 3), (SIDES[kind], 1, 3)):
        data, _ = write_picture(Picture(np.zeros(shape, np.uint8)), f".{kind.lower()}")
        assert read_picture(data).pixels.shape == shape
        longer = Picture(np.zeros(np.array(shape) + (np.array(shape) == SIDES[kind]), np.uint8))
        with pytest.raises(errors.OutputError, match=rf"at most {SIDES[kind]} pixels a side.*PNG"):
            write_picture(longer, f".{kind.lower()}")


def test_a_size_that_the_format_cannot_hold_ends_with_its_code(nicodec, tmp_path):
    Image.new("L", (16384, 1)).save(tmp_path / "a.png")
    assert nicodec("encode", "a.png", "-o", "a.nic", "--model", "tiny", "--device", "cpu")[0] == 0
    code, _, err = nicodec("decode", "a.nic", "-o", "a.webp", "--device", "cpu")
    assert (code, err.count("\n")) == (errors.OutputError.exit_code, 1)
    assert "16383" in err
    assert not (tmp_path / "a.webp").exists()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("block", [b"junk" * 9, b"Exif\0\0" + b"junk" * 9, b"Exif\0\0", b"Exif\0\0II+\0" + bytes(40)])
def test_junk_in_place_of_exif_is_dropped_and_said(suffix, block):
    data, notes = write_picture(Picture(PIXELS, exif=block), suffix)
    assert notes == ("the EXIF is damaged: dropped",)
    assert read_picture(data).exif is None


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
def test_exif_of_another_format_is_read_in_each(suffix):
    """WebP and AVIF may store it without its name, which JPEG's marker must have."""
    for block in (exif(_271="a maker"), exif(_271="a maker")[6:]):
        data, notes = write_picture(Picture(PIXELS, exif=block), suffix)
        with Image.open(io.BytesIO(data)) as image:
            assert (image.getexif()[271], notes) == ("a maker", ())


def test_how_another_file_stored_its_pixels_is_not_said_of_a_tiff():
    block = exif(_256=5, _257=7, _258=16, _259=6, _262=6, _277=1, _278=1, _271="a maker")
    data, notes = write_picture(Picture(PIXELS, exif=block), ".tif")
    again = read_picture(data)
    assert np.array_equal(again.pixels, PIXELS)
    assert b"a maker" in again.exif
    assert not notes


def test_xmp_that_png_cannot_hold_is_dropped_and_said():
    picture = Picture(PIXELS, xmp="<x/>".encode("utf-16"))
    data, notes = write_picture(picture, ".png")
    assert "UTF-8" in notes[0]
    assert read_picture(data).xmp is None
    assert read_picture(write_picture(picture, ".webp")[0]).xmp == picture.xmp


@pytest.mark.parametrize("dpi", [1e9, 70000.0, 65535.0, 1e-9, IFDRational(0, 0)])
@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_any_dpi(suffix, dpi):
    if suffix != ".pgm":
        write_picture(Picture(PIXELS, exif=exif(_282=dpi, _283=dpi, _296=2)), suffix)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=120), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"Exif\0\0MM\0*\0\0\0\x08\0\x03"]))
def test_any_exif(content, head):
    """Written and read, or said to be lost, whatever it holds."""
    for suffix in (".png", ".jpg", ".webp", ".tif", ".avif"):
        data, _ = write_picture(Picture(PIXELS, exif=head + content), suffix)
        assert read_picture(data).pixels.shape == PIXELS.shape


def test_what_no_one_thought_of_is_an_error_of_the_output(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("encoder error -2")

    monkeypatch.setattr(Image.Image, "save", refuse)
    with pytest.raises(errors.OutputError, match="encoder error -2; write PNG"):
        write_picture(Picture(PIXELS), ".jpg")
