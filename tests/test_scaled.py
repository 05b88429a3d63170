"""Small pictures out of large files: `decode --scale`, and Pillow's thumbnails."""

import functools
import io
from pathlib import Path

import numpy as np
import pictures
import pytest
from PIL import Image, ImageCms

import nicodec
from nicodec import errors
from nicodec.bases.own_decoder import OwnDecoder
from nicodec.codec import decode_taus
from nicodec.container.layout import Box
from nicodec.container.reader import read_file
from nicodec.engines.onnx import load_onnx
from nicodec.image.picture import Picture
from nicodec.image.shrink import averaged, shrink
from nicodec.latents.floats import load_float_path
from nicodec.latents.geometry import positions
from nicodec.metrics.psnr import psnr
from nicodec.options import DecodeOptions
from nicodec.painters.experts import Experts
from nicodec.painters.reduced import ReducedSynthesis, needed, synthesise_reduced
from nicodec.painters.synthesis import gather

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden"
SCALES = (2, 4, 8, 16)


def tiny_encode(image, **options):
    return nicodec.encode(image, model="tiny", device="cpu", **{"drawn": "off", **options})


def small(data, scale, **options):
    return np.asarray(nicodec.decode(data, scale=scale, device="cpu", **options))


@functools.lru_cache(maxsize=2)
def decoded(data, **options):
    return np.asarray(nicodec.decode(data, device="cpu", **options))


def full(data, scale, **options):
    """What a small picture should be about, or exactly: the full one, averaged."""
    pixels = decoded(data, **options)
    return averaged(pixels.reshape(*pixels.shape[:2], -1), scale).reshape(*(-(-s // scale) for s in pixels.shape[:2]),
                                                                          *pixels.shape[2:])  # fmt: skip


@pytest.fixture(scope="module")
def seam():
    """A file of two tiles."""
    return tiny_encode(pictures.image(1100, 75), quality=80)


def linear(data, base):
    """The linear synthesis of all of a file (H, W, 3), 0..1, by the network that makes its pixels; and its y_hat."""
    file = read_file(data)
    size = Box(0, 0, file.header.width, file.header.height)
    y_hat, _ = gather(OwnDecoder(file).symbols(), Experts(base), positions(size), 0)
    return base.linear(y_hat)[0].transpose(1, 2, 0) + 0.5, y_hat


@pytest.mark.parametrize("scale", SCALES)
def test_they_are_the_averages_of_the_linear_synthesis(scale, seam, tiny):
    base, header = load_float_path(tiny, "auto", "cpu"), read_file(seam).header
    whole, y_hat = linear(seam, base)
    height, width, _ = whole.shape
    expected = whole.reshape(height // scale, scale, width // scale, scale, 3).mean((1, 3))
    rows, columns = y_hat.shape[2:]
    canvas = np.full((3, (rows + 2) * 16 // scale, (columns + 2) * 16 // scale), 0.5, np.float32)
    place = (slice(0, rows), slice(0, columns))
    ReducedSynthesis(base, scale).add(canvas, (-1, -1), y_hat, place, (rows, columns))
    inside = canvas[:, 16 // scale : -16 // scale, 16 // scale : -16 // scale].transpose(1, 2, 0)
    assert np.abs(inside - expected).max() < 1e-4

    crop = Box(992, 32, 64, 43)  # across the seam
    symbols, wanted = OwnDecoder(read_file(seam)).symbols(), needed(crop, header)
    made = synthesise_reduced([(tile, symbols[tile]) for tile in wanted], header, base, crop, scale).astype(int)
    cut = expected[crop.top // scale :, crop.left // scale :][: made.shape[0], : made.shape[1]]
    assert np.abs(made - np.rint(cut.clip(0, 1) * 255)).max() <= 1


def test_a_crop_is_the_same_as_in_the_whole(seam):
    for scale in SCALES:
        whole = small(seam, scale)
        part = small(seam, scale, crop=(1008, 16, 53, 30))
        top, left = 16 // scale, 1008 // scale
        assert np.array_equal(part, whole[top : top + len(part), left : left + part.shape[1]])
        assert part.shape == (-(-30 // scale), -(-53 // scale), 3)


def test_a_crop_that_cuts_squares_is_decoded_in_full(seam):
    assert np.array_equal(small(seam, 8, crop=(1001, 3, 16, 24)), full(seam, 8, crop=(1001, 3, 16, 24)))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (63, 65), (129, 2)])
def test_any_size_and_mode(size, mode):
    data = tiny_encode(pictures.image(*size, mode))
    for scale in SCALES:
        image = nicodec.decode(data, scale=scale, device="cpu")
        assert image.mode == mode
        assert image.size == (-(-size[0] // scale), -(-size[1] // scale))


@pytest.mark.parametrize("quality", [30, 60])
def test_the_shipped_model_gives_what_its_full_pictures_average_to(quality, monkeypatch):
    monkeypatch.setenv("NICODEC_MODELS", str(ROOT / "models"))
    data = nicodec.encode(ROOT / "examples" / "scene.png", quality=quality, effort=1, drawn="off")
    scores = [psnr(full(data, scale), small(data, scale)) for scale in SCALES]
    assert min(scores) > 35
    assert scores == sorted(scores)


def test_g_s_does_not_run(tiny):
    data = tiny_encode(pictures.image(90, 70))
    load_onnx.forget()
    small(data, 8)
    ran = load_onnx(tiny)._sessions.keys()
    assert ran
    assert not {name for name in ran if name.startswith(("g_s", "linear", "bounded"))}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.nic")), ids=lambda path: path.stem)
def test_every_kind_of_file(path):
    """The quick way is close to the full one, references, tunes and quality maps included, and all else is exact."""
    facts = nicodec.read_info(path)
    sections = facts["sections"]
    expected, found = full(path, 4), small(path, 4)
    assert found.shape == expected.shape
    if "sq" not in sections or facts["refers_to"]:
        assert np.array_equal(found, expected)
    elif "alpha" not in sections and path.stem != "extreme-symbols":
        assert psnr(expected, found) > 20  # toy networks, whose weights are random


def test_what_is_asked_for_beside_the_fidelity_anchor_is_averaged():
    data = (GOLDEN / "tokens-90x70.nic").read_bytes()
    for options in ({"anchor": "perception"}, {"tau": 0.5}, {"anchor": "perception", "tau": 1.0}):
        assert np.array_equal(small(data, 4, **options), full(data, 4, **options))
    plain = small(data, 4)
    assert not np.array_equal(plain, small(data, 4, tau=0.5))
    taus = decode_taus(data, DecodeOptions(taus=(0.0, 0.5), scale=4, device="cpu"))
    assert np.array_equal(taus[1].pixels, small(data, 4, tau=0.5))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_drawn_blocks_are_averaged_exactly(mode):
    image = pictures.captioned(150, 128, mode)
    data = tiny_encode(image, quality=40, drawn="auto")
    assert {"drawn", "sq"} <= nicodec.read_info(data)["sections"].keys()
    for scale in SCALES:
        found, original = small(data, scale), np.asarray(image).reshape(128, 150, -1)
        exact = averaged(original, scale).reshape(found.shape)
        assert np.array_equal(found[96 // scale :], exact[96 // scale :])
        part = small(data, scale, crop=(32, 96, 40, 20))
        assert np.array_equal(part, found[96 // scale :, 32 // scale :][: part.shape[0], : part.shape[1]])


def test_what_is_transparent_lends_no_colour():
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[0, 0] = (200, 100, 50)
    alpha = np.array([[255, 0, 0, 0], [0, 0, 0, 0]], np.uint8)
    made = shrink(Picture(pixels, alpha), 2)
    assert made.pixels.tolist() == [[[200, 100, 50], [0, 0, 0]]]
    assert made.alpha.tolist() == [[64, 0]]


def test_borders_repeat_their_last_pixels():
    pixels = np.arange(15, dtype=np.uint8).reshape(3, 5, 1) * 10
    assert averaged(pixels, 2)[:, :, 0].tolist() == [[30, 50, 65], [105, 125, 140]]


def metadata(width, height):
    exif = Image.Exif()
    exif[271], exif[256], exif[257] = "A camera", width, height
    exif[34665] = {40962: width, 40963: height, 36867: "2020:02:02 02:02:02"}
    xmp = b'<x tiff:ImageWidth="%d" tiff:ImageLength="%d"><exif:PixelXDimension>%d</exif:PixelXDimension></x>'
    return exif.tobytes(), xmp % (width, height, width)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])  # decoded quickly, and in full
def test_metadata_are_kept_and_say_the_new_size(mode):
    image = pictures.image(101, 67, mode)
    image.info["exif"], image.info["xmp"] = metadata(101, 67)
    image.info["icc_profile"] = profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    found = nicodec.decode(tiny_encode(image), scale=4, device="cpu")
    assert found.info["icc_profile"] == profile
    assert found.info["xmp"] == metadata(26, 17)[1]
    exif = found.getexif()
    assert (exif[256], exif[257], exif[271]) == (26, 17, "A camera")
    assert dict(exif.get_ifd(34665)) == {40962: 26, 40963: 17, 36867: "2020:02:02 02:02:02"}


def test_metadata_of_a_crop_say_its_size():
    image = pictures.image(101, 67)
    image.info["exif"], image.info["xmp"] = metadata(101, 67)
    found = nicodec.decode(tiny_encode(image), crop=(8, 4, 40, 30), device="cpu")
    exif = found.getexif()
    assert (exif[256], exif[257], exif[271]) == (40, 30, "A camera")
    assert (exif.get_ifd(34665)[40962], exif.get_ifd(34665)[40963]) == (40, 30)
    assert found.info["xmp"] == metadata(40, 30)[1]


def test_metadata_that_say_no_size_are_kept_to_the_byte():
    image = pictures.image(50, 40)
    exif = Image.Exif()
    exif[271] = "A camera"
    image.info["exif"] = exif.tobytes()
    assert nicodec.decode(tiny_encode(image), scale=2, device="cpu").info["exif"] == exif.tobytes()


def test_damage_is_found(seam):
    damaged = bytearray(seam)
    damaged[len(damaged) // 2] ^= 1
    with pytest.raises(errors.CorruptFileError):
        small(bytes(damaged), 16)
    options = DecodeOptions(best_effort=True, scale=8, device="cpu")
    (picture,) = decode_taus(bytes(damaged), options)
    assert picture.damage
    assert (picture.width, picture.height) == (138, 10)


@pytest.mark.parametrize("scale", [0, 3, 32, -2, 2.5, "8", None])
def test_scales_that_are_none(scale, seam):
    with pytest.raises(errors.UsageError, match="expected one of 1, 2, 4, 8, 16"):
        nicodec.decode(seam, scale=scale)


def test_on_the_command_line(inside, tmp_path, seam):
    (tmp_path / "a.nic").write_bytes(seam)
    code, _, said = inside("decode", "a.nic", "-o", "a.png", "--scale", "8")
    assert (code, "138x10" in said) == (0, True), said
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), small(seam, 8))
    assert inside("decode", "a.nic", "-o", "b.png", "--scale", "3")[0] == 2


def test_pillow_makes_thumbnails_of_small_decodes(seam):
    nicodec.register_pillow_plugin()
    with Image.open(io.BytesIO(seam)) as image:
        assert image.size == (1100, 75)
        image.thumbnail((110, 110))  # asks for twice as much
        assert image.size == (110, 8)
    with Image.open(io.BytesIO(seam)) as image:
        assert image.draft("L", (300, 10)) == ("RGB", (0, 0, 550, 37.5))
        assert image.draft(None, (130, 9)) == ("RGB", (0, 0, 137.5, 9.375))
        assert image.size == (138, 10)
        assert np.array_equal(np.asarray(image), small(seam, 8))
        assert image.draft(None, (10, 10)) is None
    with Image.open(io.BytesIO(seam)) as image:
        assert image.draft(None, (2000, 2000)) == ("RGB", (0, 0, 1100, 75))
        assert image.draft("RGB", None) is None
        image.options = DecodeOptions(crop=(0, 0, 64, 32))
        assert image.draft(None, (10, 10)) is None
        image.load()
        assert image.size == (64, 32)
