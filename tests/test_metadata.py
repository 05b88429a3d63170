"""EXIF, XMP and DPI: as for the upright picture, wherever in a file they stand, and junk said to be junk."""

import io
from pathlib import Path

import numpy as np
import pictures
import pytest
from PIL import Image, ImageOps, PngImagePlugin

import nicodec
from nicodec.image.files import from_pillow, read_picture, write_picture

CASES = Path(__file__).parent / "cases"


def encode(image, **options):
    return nicodec.encode(image, model="tiny", device="cpu", **options)


def turned(kind, where):
    """A picture of 60x20 that says in EXIF, XMP or both that it is to be turned."""
    exif = Image.Exif()
    if "exif" in where:
        exif[0x0112] = 6
    blocks = {}
    if "xmp" in where:
        xmp = b'<x:xmpmeta xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" b="kept"/>'
        if kind == "PNG":
            blocks["pnginfo"] = PngImagePlugin.PngInfo()
            blocks["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
        elif kind == "TIFF":
            exif[700] = xmp
        else:
            blocks["xmp"] = xmp
    return pictures.file_bytes(pictures.image(60, 20), kind, exif=exif.tobytes(), **blocks)


@pytest.mark.parametrize("where", ["exif", "xmp", "exif and xmp"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied_once(kind, where):
    """Whatever reads the written file must not turn it again: neither EXIF nor XMP says so any more."""
    picture = read_picture(turned(kind, where))
    assert (picture.width, picture.height) == (20, 60)
    assert ("xmp" in where) == (picture.xmp is not None and b'b="kept"' in picture.xmp)
    for suffix in (".png", ".jpg", ".webp", ".tif", ".avif"):
        written = Image.open(io.BytesIO(write_picture(picture, suffix)[0]))
        assert ImageOps.exif_transpose(written).size == (20, 60)


def test_what_is_said_of_width_and_height_is_turned_too():
    picture = read_picture((CASES / "thumb.jpg").read_bytes())
    assert (picture.width, picture.height) == (96, 128)
    exif = Image.Exif()
    exif.load(picture.exif)
    assert (exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0xA003]) == (96, 128)
    assert exif[0x010F] == "Acme"
    assert exif.get_ifd(0x8825).keys() == {0, 1, 2}, "GPS is kept"
    assert not exif.get_ifd(1), "and no thumbnail that lies on its side"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_turn_swaps_sides_where_it_must(orientation):
    exif = Image.Exif()
    exif[0x0112], exif[0x0100], exif[0x0101], exif[0x0128] = orientation, 60, 20, 2
    exif[0x011A], exif[0x011B] = 300.0, 150.0
    exif[0x8769] = {0xA002: 60, 0xA003: 20}
    xmp = b"<x a:b='1' exif:PixelXDimension='60' exif:PixelYDimension='20'><tiff:ImageWidth>60</tiff:ImageWidth></x>"
    image = pictures.image(60, 20)
    picture = read_picture(pictures.file_bytes(image, "WEBP", lossless=True, exif=exif.tobytes(), xmp=xmp))
    assert np.array_equal(picture.pixels, np.asarray(ImageOps.exif_transpose(with_exif(image, exif))))
    kept = Image.Exif()
    kept.load(picture.exif)
    assert (kept[0x0100], kept[0x0101]) == (picture.width, picture.height)
    assert (kept.get_ifd(0x8769)[0xA002], kept.get_ifd(0x8769)[0xA003]) == (picture.width, picture.height)
    assert (kept[0x011A], kept[0x011B]) == ((300, 150) if picture.width == 60 else (150, 300))
    for side, value in ((b"X", picture.width), (b"Y", picture.height)):
        assert b"exif:Pixel%sDimension='%d'" % (side, value) in picture.xmp
    assert (b"<tiff:ImageWidth>60</tiff:ImageWidth>" in picture.xmp) == (orientation < 5)
    assert (b"<tiff:ImageLength>60</tiff:ImageLength>" in picture.xmp) == (orientation >= 5)


def with_exif(image, exif):
    copy = image.copy()
    copy.info["exif"] = exif.tobytes()
    return copy


def test_metadata_behind_the_pixels_are_read():
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    chunks = pictures.chunk(b"eXIf", exif.tobytes()[6:])
    chunks += pictures.chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta/>")
    data = pictures.file_bytes(pictures.image(8, 8))
    picture = read_picture(data[:-12] + chunks + data[-12:])
    assert b"a maker" in picture.exif
    assert picture.xmp == b"<x:xmpmeta/>"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("block", [b"junk" * 9, b"Exif\0\0" + b"junk" * 9])
def test_junk_in_place_of_exif_is_left_out_and_said(kind, block):
    picture = read_picture(pictures.file_bytes(pictures.image(8, 8), kind, exif=b"Exif\0\0" * (kind == "JPEG") + block))
    assert picture.exif is None
    assert "EXIF is damaged" in picture.notes[0]
    assert picture.pixels.shape == (8, 8, 3)


def test_orientation_survives_the_codec_once():
    back = nicodec.decode(encode(turned("JPEG", "exif and xmp"), quality=100), device="cpu")
    assert back.size == (20, 60)
    assert back.getexif().get(0x0112, 1) == 1
    assert ImageOps.exif_transpose(back).size == (20, 60)


@pytest.mark.parametrize("source", ["PNG", "JPEG", "TIFF", "BMP"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_dpi_is_kept(source, suffix):
    data = encode(pictures.file_bytes(pictures.image(20, 20), source, dpi=(300, 150)))
    again = read_picture(write_picture(from_pillow(nicodec.decode(data, device="cpu")), suffix)[0])
    exif = Image.Exif()
    exif.load(again.exif)
    assert (float(exif[0x011A]), float(exif[0x011B])) == pytest.approx((300, 150), abs=0.1)


def test_what_a_tiff_says_of_itself_is_kept():
    exif = Image.Exif()
    exif[270], exif[0x8769], exif[700] = "a description", {0x9003: "2026:01:02 03:04:05"}, b"<x:xmpmeta/>"
    data = pictures.file_bytes(pictures.image(20, 20), "TIFF", exif=exif.tobytes())
    picture = read_picture(data)
    kept = Image.Exif()
    kept.load(picture.exif)
    assert kept[270] == "a description"
    assert kept.get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"
    assert not {256, 257, 273, 279} & set(kept), "how the TIFF was stored is nothing to keep"
    assert picture.xmp == b"<x:xmpmeta/>"
