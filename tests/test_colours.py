"""Colours that a file declares: PNG's gAMA, cHRM, sRGB and cICP, AVIF's nclx; profiles and the pixels they are for."""

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pictures
import pytest
from PIL import Image, ImageCms

import nicodec
from nicodec import errors
from nicodec.image.files import from_pillow, read_picture, to_pillow, write_picture
from nicodec.image.icc import SRGB_CHROMATICITIES, ColourSpace, adapted_colorants, grey_as_rgb, space_of
from nicodec.image.picture import Picture

CASES = Path(__file__).parent / "cases"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
ADOBE = ((0.3127, 0.3290), (0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
P3 = ((0.3127, 0.3290), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
COLOURS = np.array([[[0] * 3, [255] * 3, [128] * 3, [40] * 3, [150, 120, 100], [90, 130, 140]]], np.uint8)


def gama(value):
    return struct.pack(">I", round(value * 100000))


def chrm(points):
    return struct.pack(">8I", *(round(value * 100000) for point in points for value in point))


def shown(picture):
    """A picture's pixels as sRGB (H, W, 3), by Little CMS and the picture's profile, as any viewer shows them."""
    image = to_pillow(picture)
    if picture.icc is None:
        return np.asarray(image.convert("RGB")).astype(int)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.icc))
    how = {"renderingIntent": ImageCms.Intent.RELATIVE_COLORIMETRIC, "flags": ImageCms.Flags.NOOPTIMIZE}
    return np.asarray(ImageCms.profileToProfile(image, profile, SRGB, outputMode="RGB", **how)).astype(int)


def srgb_curve(linear):
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def rgb_to_xyz(points):
    white, *primaries = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in points)
    matrix = np.stack(primaries, 1)
    return matrix * np.linalg.solve(matrix, white)


def theory(samples, points, to_linear):
    """What samples of a space with white D65 are in sRGB: no adaptation, no profile."""
    matrix = np.linalg.inv(rgb_to_xyz(SRGB_CHROMATICITIES)) @ rgb_to_xyz(points)
    return 255 * srgb_curve(to_linear(samples / 255) @ matrix.T)


def bt709(samples):
    return np.where(samples < 0.081, samples / 4.5, ((samples + 0.099) / 1.099) ** (1 / 0.45))


def srgb(samples):
    return np.where(samples <= 0.04045, samples / 12.92, ((samples + 0.055) / 1.055) ** 2.4)


def power(exponent):
    return lambda samples: samples**exponent


@pytest.mark.parametrize(("chunks", "points", "to_linear"), [
    ({"gAMA": gama(1.0)}, SRGB_CHROMATICITIES, power(1)),
    ({"gAMA": gama(1 / 1.8)}, SRGB_CHROMATICITIES, power(1.8)),
    ({"gAMA": gama(1 / 2.2), "cHRM": chrm(ADOBE)}, ADOBE, power(2.2)),
    ({"cHRM": chrm(P3)}, P3, srgb),
    ({"cICP": bytes([12, 13, 0, 1])}, P3, srgb),
    ({"cICP": bytes([1, 1, 0, 1])}, SRGB_CHROMATICITIES, bt709),
    ({"cICP": bytes([12, 8, 0, 1]), "sRGB": b"\0", "gAMA": gama(1)}, P3, power(1)),
    ({"cICP": bytes([2, 2, 0, 1]), "gAMA": gama(1)}, SRGB_CHROMATICITIES, power(1)),
], ids=lambda value: " ".join(value) if isinstance(value, dict) else "")  # fmt: skip
def test_declared_colours_become_a_profile(chunks, points, to_linear):
    picture = read_picture(pictures.png_with(Image.fromarray(COLOURS), **chunks))
    assert space_of(picture.icc) == "RGB"
    assert not picture.notes
    assert np.array_equal(picture.pixels, COLOURS)
    assert np.abs(shown(picture) - theory(COLOURS, points, to_linear)).max() < 2
    data, notes = write_picture(picture, ".png")
    assert (read_picture(data).icc, notes) == (picture.icc, ())


@pytest.mark.parametrize("chunks", [
    {}, {"sRGB": b"\0"}, {"gAMA": gama(0.45455)}, {"gAMA": gama(1 / 2.2)}, {"sRGB": b"\0", "gAMA": gama(1)},
    {"sRGB": b"\1", "gAMA": gama(1), "cHRM": chrm(P3)}, {"gAMA": gama(0.45455), "cHRM": chrm(SRGB_CHROMATICITIES)},
    {"cHRM": chrm(SRGB_CHROMATICITIES)}, {"cICP": bytes([1, 13, 0, 1]), "gAMA": gama(1)},
])  # fmt: skip
def test_srgb_needs_no_profile(chunks):
    picture = read_picture(pictures.png_with(Image.fromarray(COLOURS), **chunks))
    assert (picture.icc, picture.notes) == (None, ())


def test_a_profile_in_the_file_wins():
    profile = ColourSpace(P3, 1.8).profile(grey=False)
    named = b"a\0\0" + zlib.compress(profile)
    data = pictures.png_with(Image.fromarray(COLOURS), cICP=bytes([9, 13, 0, 1]), iCCP=named, gAMA=gama(1))
    assert read_picture(data).icc == profile


@pytest.mark.parametrize("chunks", [
    {"gAMA": gama(0)}, {"gAMA": gama(40)}, {"gAMA": gama(0.001)}, {"cHRM": bytes(32)},
    {"cHRM": chrm([(0.3127, 0.329)] * 4)}, {"cHRM": chrm([(0.3127, 0.329), (0.1, 0.1), (0.2, 0.2), (0.3, 0.3)])},
    {"cHRM": chrm([(0.9, 0.05), *P3[1:]])}, {"cICP": bytes([200, 13, 0, 1])}, {"cICP": bytes([12, 13, 6, 1])},
    {"cHRM": chrm([(0.3127, 0.00001), *P3[1:]])}, {"cHRM": b"\xff" * 32},
])  # fmt: skip
def test_nonsense_is_ignored_and_said(chunks):
    picture = read_picture(pictures.png_with(Image.fromarray(COLOURS), **chunks))
    assert picture.icc is None
    assert "mean nothing" in picture.notes[0]
    behind = read_picture(pictures.png_with(Image.fromarray(COLOURS), cICP=bytes([200, 13, 0, 1]), gAMA=gama(1)))
    assert space_of(behind.icc) == "RGB"


@pytest.mark.parametrize(("codes", "said"), [((9, 16, 0, 1), "PQ"), ((9, 18, 0, 1), "HLG"), ((1, 13, 0, 0), "narrow")])
def test_what_8_bits_cannot_hold_is_refused_with_advice(codes, said):
    for image in (Image.fromarray(COLOURS), Image.new("L", (4, 4))):
        with pytest.raises(errors.UnsupportedPictureError, match=rf"{said}.*convert it"):
            read_picture(pictures.png_with(image, cICP=bytes(codes)), allow_8bit=True)
    profile = b"a\0\0" + zlib.compress(SRGB.tobytes())
    with pytest.raises(errors.UnsupportedPictureError, match=said):
        read_picture(pictures.png_with(Image.fromarray(COLOURS), cICP=bytes(codes), iCCP=profile))


@pytest.mark.parametrize("mode", ["L", "LA", "P"])
def test_grey_pictures_keep_their_curve(mode):
    ramp = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)
    image = Image.fromarray(ramp) if mode != "LA" else Image.merge("LA", [Image.fromarray(ramp)] * 2)
    image = image.convert("P") if mode == "P" else image
    picture = read_picture(pictures.png_with(image, gAMA=gama(1), cHRM=chrm(ADOBE)))
    assert picture.grey
    assert space_of(picture.icc) == "GRAY"
    plain = replace(picture, alpha=None)
    assert np.abs(shown(plain)[..., 0] - 255 * srgb_curve(ramp / 255)).max() < 2


def test_a_pillow_image_says_its_colours_too():
    with Image.open(CASES / "png_chrm_adobergb.png") as image:
        assert from_pillow(image).icc == read_picture((CASES / "png_chrm_adobergb.png").read_bytes()).icc is not None


@pytest.mark.parametrize(("name", "points", "exponent"), [
    ("png_gama1.0.png", SRGB_CHROMATICITIES, 1), ("png_chrm_adobergb.png", ADOBE, 2.2),
])  # fmt: skip
def test_cases_come_back_in_their_colours(inside, tmp_path, name, points, exponent):
    code, _, err = inside("encode", CASES / name, "-o", "a.nic", "--model", "tiny", "--device", "cpu", "-q", 100)
    assert (code, "warning" in err) == (0, False)
    assert inside("decode", "a.nic", "-o", "a.png", "--device", "cpu")[0] == 0
    with Image.open(CASES / name) as image:
        original = np.asarray(image)
    picture = read_picture((tmp_path / "a.png").read_bytes())
    expected = theory(picture.pixels, points, power(exponent))
    assert np.abs(shown(picture) - expected).mean() < 1
    assert np.abs(shown(picture) - original.astype(int)).mean() > 3, "the pixels alone are of other colours"


def avif(primaries, transfer):
    data = bytearray(pictures.file_bytes(Image.fromarray(COLOURS.repeat(8, 0).repeat(8, 1)), "AVIF", quality=95))
    at = data.index(b"colrnclx") + 8
    data[at : at + 4] = struct.pack(">2H", primaries, transfer)
    return bytes(data)


def test_avif_declares_colours_by_code():
    assert read_picture(avif(1, 13)).icc is None
    assert read_picture(avif(1, 1)).icc is None, "as all viewers take it"
    picture = read_picture(avif(12, 13))
    assert np.abs(shown(picture) - theory(picture.pixels, P3, srgb)).max() < 2
    with pytest.raises(errors.UnsupportedPictureError, match="PQ"):
        read_picture(avif(9, 16))


def test_colorants_are_the_published_ones():
    """Of Adobe RGB (1998) and sRGB, adapted to D50 by Bradford."""
    adobe = [[0.60974, 0.31111, 0.01947], [0.20528, 0.62567, 0.06087], [0.14919, 0.06322, 0.74457]]
    own = [[0.43607, 0.22249, 0.01392], [0.38515, 0.71687, 0.09708], [0.14307, 0.06061, 0.71410]]
    assert adapted_colorants(ADOBE) == pytest.approx(np.array(adobe), abs=3e-4)
    assert adapted_colorants(SRGB_CHROMATICITIES) == pytest.approx(np.array(own), abs=3e-4)
    warm = ((0.3457, 0.3585), *P3[1:])  # white is white, whatever it was
    assert shown(Picture(COLOURS, icc=ColourSpace(warm, 2.2).profile(grey=False)))[0, 1].tolist() == [255, 255, 255]


def libpng_takes(data):
    """Whether a PNG file's profile is for its kind of pixels, by the rule of libpng; True without one."""
    with Image.open(io.BytesIO(data)) as image:
        profile = image.info.get("icc_profile")
    return profile is None or space_of(profile) == ("RGB" if data[25] & 2 else "GRAY")


PROFILES = {"RGB": SRGB.tobytes(), "GRAY": ColourSpace(SRGB_CHROMATICITIES, 1.8).profile(grey=True)}
PROFILES["CMYK"] = PROFILES["RGB"][:16] + b"CMYK" + PROFILES["RGB"][20:]


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("space", PROFILES)
@pytest.mark.parametrize(("suffix", "alpha"), [
    *((suffix, False) for suffix in (".png", ".jpg", ".webp", ".tif", ".avif", ".bmp", ".ppm", ".pam")),
    *((suffix, True) for suffix in (".png", ".webp", ".tif", ".avif", ".pam")),
])  # fmt: skip
def test_profile_and_pixels_go_together_in_every_format(suffix, space, grey, alpha):
    ramp = np.linspace(0, 255, 32 * 32).astype(np.uint8).reshape(32, 32, 1)
    pixels = ramp if grey else np.concatenate([ramp, ramp.swapaxes(0, 1), ramp], 2)
    picture = Picture(pixels, ramp[..., 0] if alpha else None, PROFILES[space])
    data, notes = write_picture(picture, suffix)
    with Image.open(io.BytesIO(data)) if suffix != ".pam" else to_pillow(read_picture(data)) as image:
        written, mode = image.info.get("icc_profile"), image.mode
    if written is not None:
        assert space_of(written) == ("GRAY" if mode in ("L", "LA") else "RGB")
    holds = suffix not in (".bmp", ".ppm", ".pam") and (space == "RGB" or (space == "GRAY" and grey))
    assert (written is None, bool(notes)) == (not holds, not holds), "kept, or its loss is said"
    if holds:
        expected = shown(replace(picture, alpha=None))
        assert np.abs(shown(replace(read_picture(data), alpha=None)) - expected).mean() < 2
    assert suffix != ".png" or libpng_takes(data)


def test_a_palette_of_greys_under_a_profile_for_rgb(inside, tmp_path):
    data = (CASES / "png_greypal_rgbicc.png").read_bytes()
    original = read_picture(data)
    assert original.grey
    assert space_of(original.icc) == "RGB"
    for suffix in ("png", "jpg", "tif", "webp"):
        name = CASES / "png_greypal_rgbicc.png"
        assert inside("encode", name, "-fo", "a.nic", "--model", "tiny", "--device", "cpu")[0] == 0
        assert inside("decode", "a.nic", "-o", f"a.{suffix}", "--device", "cpu")[0] == 0
        written = read_picture((tmp_path / f"a.{suffix}").read_bytes())
        assert written.icc == original.icc
        assert not written.grey
        assert suffix == "jpg" or (written.pixels[..., :1] == written.pixels).all()
    assert libpng_takes((tmp_path / "a.png").read_bytes())
    buffer = io.BytesIO()  # and what is saved of the API's image
    nicodec.decode((tmp_path / "a.nic").read_bytes(), device="cpu").save(buffer, "PNG")
    assert libpng_takes(buffer.getvalue())


@pytest.mark.parametrize("space", ["GRAY", "CMYK"])
def test_a_profile_of_other_pixels_is_told_of_when_read(space):
    picture = read_picture(pictures.file_bytes(Image.fromarray(COLOURS), "WEBP", icc_profile=PROFILES[space]))
    assert picture.icc is None
    assert f"is for {space}" in picture.notes[0]


def test_a_grey_profile_without_a_curve_is_said_to_be_lost():
    profile = PROFILES["GRAY"].replace(b"kTRC", b"none")
    picture = Picture(np.zeros((8, 8, 1), np.uint8), icc=profile)
    data, notes = write_picture(picture, ".webp")
    assert "no simple curve" in notes[0]
    assert read_picture(data).icc is None
    for end in range(0, len(PROFILES["GRAY"]), 7):
        assert grey_as_rgb(PROFILES["GRAY"][:end]) is None
