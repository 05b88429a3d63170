"""What KEPT.md's table says is kept: modes x formats x metadata, and sizes, over generated pictures."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pictures
import pytest
from PIL import Image, ImageCms, PngImagePlugin

import nicodec
from nicodec import errors
from nicodec.image.files import FORMATS, from_pillow, read_picture, write_picture
from nicodec.image.icc import SRGB_CHROMATICITIES, ColourSpace, grey_as_rgb


def encode(image, **options):
    return nicodec.encode(image, model="tiny", device="cpu", **options)


PAGE = (Path(nicodec.__file__).parent / "image" / "KEPT.md").read_text(encoding="utf-8")
TABLE = {row[0]: [cell.split() for cell in row[1:]] for row in re.findall(
    r"^\| ([A-Z]+) \|" + 4 * r"([^|\n]*)\|" + "$", PAGE, re.M)}  # fmt: skip
BACK = {"1": "L", "L": "L", "LA": "LA", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA", "CMYK": "RGB"}
XMP, PROFILE = b"<x:xmpmeta/>", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_PROFILE = ColourSpace(SRGB_CHROMATICITIES, 2.2).profile(grey=True)


def held(picture):
    """The metadata of a picture, as the page's table calls them."""
    exif = Image.Exif()
    exif.load(picture.exif or b"")
    profiles = (PROFILE, GREY_PROFILE, grey_as_rgb(GREY_PROFILE))
    there = {"ICC": picture.icc in profiles, "XMP": picture.xmp == XMP, "EXIF": exif.get(0x010F) == "a maker",
             "DPI": exif.get(0x011A) == pytest.approx(300, abs=0.1)}  # fmt: skip
    return {name for name, is_there in there.items() if is_there}


def source(kind, mode):
    """A file with all the metadata that the table says are read of its kind."""
    image = pictures.image(40, 30, "RGBA" if mode == "RGBA" else "LA" if mode == "LA" else "RGB").convert(mode)
    if kind == "PAM":
        return write_picture(from_pillow(image), ".pam")[0]
    exif = Image.Exif()
    exif[0x010F], exif[0x011A], exif[0x011B], exif[0x0128] = "a maker", 300.0, 300.0, 2
    options = {"dpi": (300, 300)} if kind in ("BMP", "TIFF") else {}
    if "EXIF" in TABLE[kind][1]:
        options |= {"icc_profile": GREY_PROFILE if mode in ("1", "L", "LA") else PROFILE, "xmp": XMP}
        if kind == "TIFF":
            exif[700] = options.pop("xmp")
        if kind == "PNG":
            options["pnginfo"] = PngImagePlugin.PngInfo()
            options["pnginfo"].add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode())
        options["exif"] = exif.tobytes()
    if mode == "CMYK":
        del options["icc_profile"]  # it would be one of CMYK: see test_cmyk_goes_through_its_profile
    return pictures.file_bytes(image, kind, **options)


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, row in TABLE.items() for mode in row[0]])
def test_what_the_page_says_is_read(kind, mode):
    """Every mode of every format through the codec: kind of colour, alpha to the bit, metadata."""
    data = source(kind, mode)
    back = nicodec.decode(encode(data, quality=80), device="cpu")
    assert (back.mode, back.size) == (BACK[mode], (40, 30))
    if "A" in mode:
        assert np.array_equal(np.asarray(back)[..., -1], read_picture(data).alpha)
        assert kind == "AVIF" or np.array_equal(np.asarray(back)[..., -1], pictures.alpha(40, 30))
    assert held(from_pillow(back)) == set(TABLE[kind][1]) - ({"ICC"} if mode == "CMYK" else set())


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("kind", TABLE)
def test_what_the_page_says_is_written(kind, mode):
    picture = replace(read_picture(source("PNG", mode)), notes=())
    if mode not in TABLE[kind][2]:
        with pytest.raises(errors.OutputError):
            write_picture(picture, f".{kind.lower()}")
        return
    data, notes = write_picture(picture, f".{kind.lower()}")
    again = read_picture(data)
    assert held(again) == set(TABLE[kind][3])
    assert len(notes) == len({"ICC", "EXIF", "XMP"} - held(again)), "what is dropped is said"
    assert (again.alpha is None) == (picture.alpha is None)
    if kind not in ("JPEG", "AVIF"):
        pixels = np.broadcast_to(picture.pixels, again.pixels.shape)  # WebP knows no grey
        assert np.array_equal(again.pixels, pixels)
        assert picture.alpha is None or np.array_equal(again.alpha, picture.alpha)


def test_the_table_names_every_format():
    assert {kind for kind, row in TABLE.items() if row[2]} == set(FORMATS.values())


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (63, 63), (64, 64), (65, 65), (8191, 9), (9, 8191)])
def test_sizes(size):
    assert nicodec.decode(encode(pictures.image(*size)), device="cpu").size == size


def test_grey_costs_less():
    colour, grey = (encode(pictures.image(128, 96).convert(mode)) for mode in ("RGB", "L"))
    assert len(grey) < 0.9 * len(colour)
