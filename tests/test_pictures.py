"""Picture files in and out: modes, depth, frames, colour, metadata, and nothing lost without a word."""

import io
import struct

import numpy as np
import pictures
import pytest
from PIL import Image

import nicodec
from nicodec import errors
from nicodec.image.files import from_pillow, read_picture, write_picture


def encode(image, **options):
    return nicodec.encode(image, model="tiny", device="cpu", **options)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_metadata_survive(kind):
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    blocks = {"icc_profile": b"profile" * 9, "exif": exif.tobytes(), "xmp": b"<x:xmpmeta/>"}
    if kind == "PNG":
        blocks.pop("xmp")  # Pillow writes it as a text chunk, see the next test
    source = pictures.file_bytes(pictures.image(33, 21), kind, **blocks)
    back = nicodec.decode(encode(source), device="cpu")
    assert back.info["icc_profile"] == blocks["icc_profile"]
    assert back.getexif()[0x010F] == "a maker"
    assert back.info.get("xmp") == blocks.get("xmp")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif", ".bmp", ".ppm", ".pam"])
def test_written_files_hold_what_they_can_and_say_what_they_cannot(suffix):
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    image = pictures.image(33, 21)
    image.info.update(icc_profile=b"profile" * 9, exif=exif.tobytes(), xmp=b"<x:xmpmeta/>")
    data, notes = write_picture(from_pillow(image), suffix)
    again = read_picture(data)
    maker = again.exif is not None and b"a maker" in again.exif
    assert [bool(again.icc), maker, bool(again.xmp)].count(False) == len(notes)
    if suffix not in (".jpg", ".avif"):
        assert np.array_equal(again.pixels, np.asarray(image))


def test_a_palette_of_greys_is_grey():
    picture = read_picture(pictures.file_bytes(pictures.image(20, 20, "L"), "GIF"))
    assert picture.grey
    assert np.array_equal(picture.pixels[:, :, 0], np.asarray(pictures.image(20, 20, "L")))
    assert not read_picture(pictures.file_bytes(pictures.image(20, 20).convert("P"), "GIF")).grey


def test_a_deep_transparent_colour_is_refused_not_lost():
    image = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30))
    with pytest.raises(errors.UnsupportedPictureError, match="transparent colour of 16 bits"):
        read_picture(pictures.file_bytes(image, transparency=300), allow_8bit=True)


@pytest.mark.parametrize("mode", ["1", "P", "PA"])
def test_modes_that_convert_without_loss(mode):
    image = pictures.image(40, 30, "RGBA" if mode == "PA" else "RGB").convert(mode if mode != "PA" else "P")
    picture = read_picture(pictures.file_bytes(image))
    assert np.array_equal(picture.pixels[:, :, 0], np.asarray(image.convert("L" if mode == "1" else "RGB"))[..., 0]
                          if mode != "1" else np.asarray(image.convert("L")))  # fmt: skip


def test_palette_transparency_becomes_alpha():
    image = pictures.image(40, 30).convert("P")
    picture = read_picture(pictures.file_bytes(image, transparency=3))
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha == 0, np.asarray(image) == 3)


def refused():
    grey16 = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30))
    yield "16-bit RGB PNG", pictures.deep_png()
    yield "16-bit grey PNG", pictures.file_bytes(grey16)
    yield "16-bit grey TIFF", pictures.file_bytes(grey16, "TIFF")
    yield "16-bit PPM", b"P6\n# deep\n2 1\n65535\n" + bytes(12)
    yield "float TIFF", pictures.file_bytes(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF")
    yield "LAB TIFF", pictures.file_bytes(Image.new("LAB", (9, 9)), "TIFF")
    yield "16-bit PAM", b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 1\nMAXVAL 65535\nENDHDR\n" + bytes(4)


@pytest.mark.parametrize(("name", "data"), list(refused()), ids=lambda value: value if isinstance(value, str) else "")
def test_pictures_that_would_lose_something_are_refused(name, data):
    with pytest.raises(errors.UnsupportedPictureError):
        read_picture(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM"])
def test_truncated_pictures_are_refused(kind):
    data = pictures.file_bytes(pictures.image(90, 70), kind)
    for length in (0, 1, 20, len(data) // 2, len(data) - 30):
        with pytest.raises(errors.InputError):
            read_picture(data[:length])


def test_animations_are_told_of():
    frames = [pictures.image(20, 20), pictures.image(20, 20).rotate(90)]
    data = pictures.file_bytes(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    assert "2 pictures" in read_picture(data).notes[0]


@pytest.mark.parametrize("deep", [0, 1])
def test_each_frame_has_a_depth_of_its_own(deep):
    """No frame is cut to 8 bits because another one has no more, nor refused because another one has."""
    frames = [pictures.image(20, 20, "L"), pictures.image(20, 20, "L")]
    frames[deep] = Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 160)
    data = pictures.file_bytes(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    assert np.array_equal(read_picture(data, frame=1 - deep).pixels[:, :, 0], np.asarray(frames[1 - deep]))
    with pytest.raises(errors.UnsupportedPictureError, match="16 bits"):
        read_picture(data, frame=deep)
    with Image.open(io.BytesIO(data)) as image, pytest.raises(errors.UnsupportedPictureError, match="16 bits"):
        from_pillow(image, frame=deep)


def test_a_frame_can_be_chosen():
    frames = [pictures.image(20, 20), pictures.image(20, 20).rotate(90), pictures.image(20, 20).rotate(180)]
    data = pictures.file_bytes(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    for index, frame in enumerate(frames):
        assert np.array_equal(read_picture(data, frame=index).pixels, np.asarray(frame))
        assert not read_picture(data, frame=index).notes
    with pytest.raises(errors.InputError, match="holds 3"):
        read_picture(data, frame=3)


def deep():
    grey = (np.arange(600) * 109).astype(np.uint16).reshape(20, 30)
    image = Image.fromarray(grey)
    yield "PNG", pictures.file_bytes(image), grey / 257
    yield "TIFF", pictures.file_bytes(image, "TIFF"), grey / 257
    yield "PGM", b"P5\n30 20\n65535\n" + grey.astype(">u2").tobytes(), grey / 257
    yield "PGM of 10 bits", b"P5\n30 20\n1023\n" + (grey >> 6).astype(">u2").tobytes(), (grey >> 6) * (255 / 1023)
    pam = b"P7\nWIDTH 30\nHEIGHT 20\nDEPTH 1\nMAXVAL 65535\nTUPLTYPE GRAYSCALE\nENDHDR\n"
    yield "PAM", pam + grey.astype(">u2").tobytes(), grey / 257
    rows = np.array([[[0, 2, 4], [6, 8, 10]]] * 2)
    yield "RGB PNG", pictures.deep_png(), rows


@pytest.mark.parametrize(("name", "data", "expected"), list(deep()), ids=lambda v: v if isinstance(v, str) else "")
def test_deep_samples_are_reduced_when_allowed(name, data, expected):
    picture = read_picture(data, allow_8bit=True)
    assert "reduced to 8" in picture.notes[0]
    assert np.abs(picture.pixels.squeeze() - expected).max() <= 0.51
    with pytest.raises(errors.UnsupportedPictureError, match="--allow-8bit"):
        read_picture(data)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pam_holds_every_kind(mode):
    picture = from_pillow(pictures.image(7, 5, mode))
    again = read_picture(write_picture(picture, ".pam")[0])
    assert np.array_equal(again.pixels, picture.pixels)
    assert again.grey == picture.grey
    assert (again.alpha is None) == (picture.alpha is None)
    assert picture.alpha is None or np.array_equal(again.alpha, picture.alpha)


@pytest.mark.parametrize("damage", [b"P7\n", b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 9\nMAXVAL 255\nENDHDR\n" + bytes(36),
                                    b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 3\nMAXVAL 255\nENDHDR\n" + bytes(11),
                                    b"P7\nWIDTH 0\nHEIGHT 2\nDEPTH 3\nMAXVAL 255\nENDHDR\n"])  # fmt: skip
def test_broken_pam_is_refused(damage):
    with pytest.raises(errors.InputError, match="PAM"):
        read_picture(damage)


def cmyk_profile():
    """A CMYK profile that knows one thing: K makes darker, inks do nothing. A lut8 of two grid points to Lab."""
    table = b"".join(bytes([255 * (1 - (index & 1)), 128, 128]) for index in range(16))
    identity = bytes(range(256))
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + 4 * identity + table + 3 * identity
    lut += bytes(-len(lut) % 4)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    offset = 128 + 4 + 2 * 12
    tags = struct.pack(">I", 2) + b"A2B0" + struct.pack(">2I", offset, len(lut))
    tags += b"wtpt" + struct.pack(">2I", offset + len(lut), len(white))
    head = struct.pack(">I4xI4s4s4s12s4s28x3i48x", offset + len(lut) + len(white), 0x02400000, b"prtr", b"CMYK",
                       b"Lab ", bytes(12), b"acsp", 63190, 65536, 54061)  # fmt: skip
    return head + tags + lut + white


def test_cmyk_goes_through_its_profile():
    inks = np.zeros((16, 32, 4), np.uint8)
    inks[:, :16, 0] = 255  # cyan, to which the profile is blind
    inks[8:, :, 3] = 255  # black
    data = pictures.file_bytes(Image.fromarray(inks, "CMYK"), "TIFF", icc_profile=cmyk_profile())
    picture = read_picture(data)
    assert picture.icc is None
    assert "through its ICC profile" in picture.notes[0]
    assert picture.pixels[:8].min() > 250
    assert picture.pixels[8:].max() < 5
    plain = read_picture(pictures.file_bytes(Image.fromarray(inks, "CMYK"), "TIFF"))
    assert "approximate" in plain.notes[0]
    assert plain.pixels[0, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_the_callers_image_stays_as_it_is(mode):
    image = pictures.image(20, 10, "RGB").convert("L" if mode == "L" else "RGB")
    if mode == "I;16":
        image = Image.fromarray(np.arange(200, dtype=np.uint16).reshape(10, 20))
    image.getexif()[0x0112] = 6
    image.info["dpi"] = (96, 96)
    before = image.tobytes(), dict(image.getexif()), dict(image.info)
    assert from_pillow(image, allow_8bit=True).width == 10
    assert (image.tobytes(), dict(image.getexif()), dict(image.info)) == before


def test_pgm_is_grey():
    with pytest.raises(errors.OutputError, match=r"\.ppm"):
        write_picture(from_pillow(pictures.image(5, 5)), ".pgm")
    data, _ = write_picture(from_pillow(pictures.image(5, 5, "L")), ".pgm")
    assert data.startswith(b"P5")
