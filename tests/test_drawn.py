"""Drawn blocks: what is kept exactly, what is chosen to be, and what lies under it."""

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pictures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import nicodec
from nicodec import errors
from nicodec.bitmap import bit_costs
from nicodec.codec import decode_taus, verify_bytes
from nicodec.container.layout import Box, Colour, Header, SectionType
from nicodec.container.reader import read_file
from nicodec.drawing import guess, sketch, smoothed
from nicodec.image import lossless
from nicodec.image.drawn import cover, grid, pack_drawn, unpack_drawn
from nicodec.image.files import from_pillow, read_picture
from nicodec.image.kept import unpack_blocks
from nicodec.look.session import Session
from nicodec.metrics.psnr import psnr
from nicodec.options import ANCHORS, DecodeOptions, EncodeOptions
from nicodec.rate.scale import lambda_from_rate, rate_from_quality
from nicodec.target import Target, encode_to_target

CASES = Path(__file__).parent / "cases"
WEIGHT = lambda_from_rate(rate_from_quality(60))
# Bytes of the smaller of the PNG and AVIF without loss (4:4:4, quality 100, speed 6), with libavif 1.3; of the sky,
# which has more colours than lines, AVIF at 45.9 dB.
SMALLEST = {"check8_64": 133, "dither128": 1883, "pixelart_48x48": 292, "text_bw": 4384, "patches": 570, "sky512": 394,
            "wide_20000x1": 140}  # fmt: skip


def tiny_encode(image, **options):
    return nicodec.encode(image, **{"model": "tiny", "device": "cpu", **options})


def header_of(pixels):
    height, width, channels = pixels.shape
    return Header(width, height, Colour(channels == 3), 8, 0, bytes(8), version=2)


@st.composite
def drawings(draw):
    """Pixels of few colours or many, flat or not; blocks of them, one at least; and a box inside."""
    height, width = draw(st.integers(1, 100)), draw(st.integers(1, 100))
    channels, kinds, seed = draw(st.sampled_from([1, 3])), draw(st.integers(1, 300)), draw(st.integers(0, 10**6))
    random = np.random.default_rng(seed)
    table = random.integers(0, 256, (kinds, channels), np.uint8)
    cell = draw(st.sampled_from([1, 3, 8]))
    cells = random.integers(0, kinds, (-(-height // cell), -(-width // cell)))
    pixels = table[cells.repeat(cell, 0).repeat(cell, 1)[:height, :width]]
    mask = random.random(grid(height, width)) < draw(st.sampled_from([0.2, 0.7, 1.0]))
    mask.flat[random.integers(mask.size)] = True
    left, top = int(random.integers(width)), int(random.integers(height))
    box = Box(left, top, int(random.integers(1, width - left + 1)), int(random.integers(1, height - top + 1)))
    return pixels, mask, box


@settings(max_examples=150, deadline=None)
@given(drawings(), st.sampled_from([1, 3, 9]), st.sampled_from([32, 4096]))
def test_drawn_blocks_come_back_exactly_and_nothing_else_is_touched(drawing, effort, part):
    pixels, mask, box = drawing
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lossless, "PART", part)
        drawn = unpack_drawn(pack_drawn(pixels, mask, effort), header_of(pixels))
    assert np.array_equal(drawn.mask, mask)
    canvas = np.full((box.height, box.width, pixels.shape[2]), 77, np.uint8)
    drawn.paint(canvas, box)
    covered = cover(mask, pixels.shape[:2])[box.slices]
    assert np.array_equal(canvas, np.where(covered[:, :, None], pixels[box.slices], 77))


@settings(max_examples=40, deadline=None)
@given(drawings(), st.sampled_from(["auto", "all"]), st.floats(0, 100))
def test_any_drawing_decodes(drawing, how, quality):
    pixels = drawing[0]
    data = tiny_encode(pixels, drawn=how, quality=quality)
    back = np.asarray(nicodec.decode(data, device="cpu")).reshape(pixels.shape)
    facts = nicodec.read_info(data)
    if facts["drawn"] is None:
        assert facts["format_version"] == 1
    elif facts["drawn"]["blocks"] == facts["drawn"]["in"]:
        assert np.array_equal(back, pixels)
    assert how == "auto" or facts["sections"].keys() == {"drawn"}


@pytest.mark.parametrize("quality", [10, 60, 90])
@pytest.mark.parametrize("name", SMALLEST)
def test_drawings_are_exact_and_small(name, quality):
    """With the shipped model: what networks made of these was garbage, at several times the bytes."""
    path = CASES / f"{name}.png"
    data = nicodec.encode(path, quality=quality, device="cpu")
    assert np.array_equal(read_picture(path.read_bytes()).pixels, decode_taus(data, DecodeOptions())[0].pixels)
    assert len(data) <= 1.2 * SMALLEST[name]


def test_a_drawing_needs_no_network(tmp_path):
    """Neither torch nor a base is loaded, to encode or to decode; time follows the pixels of a thin picture."""
    script = (
        "import sys, time, numpy as np, nicodec, nicodec.codec\n"
        "thin = np.random.default_rng(0).integers(0, 9, (1, 65500, 3), np.uint8)\n"
        "started = time.perf_counter()\n"
        "data = nicodec.encode(thin)\n"
        "assert np.array_equal(np.asarray(nicodec.decode(data)), thin)\n"
        "assert time.perf_counter() - started < 5, 'of a machine with other work to do'\n"
        f"nicodec.decode(nicodec.encode({str(CASES / 'check8_64.png')!r}))\n"
        "assert 'torch' not in sys.modules\n"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
def test_some_blocks_drawn_beside_the_networks_picture(mode):
    image = pictures.captioned(200, 150, mode)
    data = tiny_encode(image, quality=60)
    file = read_file(data)
    assert file.header.version == 2
    assert file.sections.keys() >= {SectionType.SQ, SectionType.DRAWN}
    drawn = unpack_blocks(file)
    assert 0 < drawn.mask.mean() < 1
    original, back = (np.asarray(held).reshape(150, 200, -1) for held in (image, nicodec.decode(data, device="cpu")))
    covered = cover(drawn.mask, (150, 200))
    assert np.array_equal(back[covered], original[covered])
    plain = np.asarray(nicodec.decode(tiny_encode(image, drawn="off"), device="cpu")).reshape(150, 200, -1)
    assert psnr(original[~covered], back[~covered]) > psnr(original[~covered], plain[~covered]) - 0.5


def test_drawn_blocks_stay_exact_however_a_file_is_decoded(toys):
    image = pictures.captioned(200, 150)
    data = nicodec.encode(image, model="toy16", device="cpu")
    original = np.asarray(image)
    covered = cover(unpack_blocks(read_file(data)).mask, (150, 200))
    for picture in decode_taus(data, DecodeOptions(taus=(0.0, 0.5, 1.0), device="cpu")):
        assert np.array_equal(picture.pixels[covered], original[covered])
    led, natural = (nicodec.decode(data, device="cpu", tau=0.5, anchor=anchor) for anchor in ANCHORS)
    assert led.tobytes() == natural.tobytes()  # without tokens, perception is what tau makes of it
    box = (30, 40, 120, 90)
    crop = np.asarray(nicodec.decode(data, device="cpu", crop=box))
    assert np.array_equal(crop[covered[40:130, 30:150]], original[40:130, 30:150][covered[40:130, 30:150]])
    session = Session(data, "cpu")
    shown = session.render("fidelity", 1.0, 1, session.whole)
    assert np.array_equal(shown[covered], original[covered])


def test_a_picture_that_is_all_drawn_is_the_same_by_any_anchor(toys):
    image = pictures.drawing(90, 70)
    data = nicodec.encode(image, model="toy16", device="cpu")
    for options in ({"anchor": "perception"}, {"tau": 1.0, "steps": 4}, {"crop": (3, 5, 60, 50)}):
        left, top, width, height = options.get("crop", (0, 0, 90, 70))
        expected = image.crop((left, top, left + width, top + height))
        assert nicodec.decode(data, device="cpu", **options).tobytes() == expected.tobytes()
    session = Session(data, "cpu")
    assert session.facts()["anchors"] == ["fidelity"]
    assert session.render("fidelity", 0.0, 1, Box(3, 5, 60, 50)).tobytes() == image.crop((3, 5, 63, 55)).tobytes()


def photograph(width, height):
    """What has no two pixels alike, as photographs have none."""
    noise = np.random.default_rng(4).normal(0, 6, (height, width, 3))
    return (pictures.scene(width, height) + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("quality", [5, 50, 95])
def test_photographs_are_as_without(quality):
    pixels = photograph(300, 200)
    assert tiny_encode(pixels, quality=quality) == tiny_encode(pixels, quality=quality, drawn="off")


def test_a_photograph_is_told_quickly():
    pixels, times = photograph(768, 512), []
    for _ in range(5):
        started = time.process_time()
        assert not guess(pixels, EncodeOptions(), WEIGHT).mask.any()
        times.append(time.process_time() - started)
    assert min(times) < 0.1  # 0.01 where nothing else runs


@pytest.mark.parametrize("cell", [1, 2, 8, 16, 32])
@pytest.mark.parametrize("phase", [0, 8, 13])
def test_checks_of_any_size_and_phase_are_exact(cell, phase):
    y, x = np.mgrid[phase : phase + 128, :128]
    pixels = ((x // cell + y // cell) % 2 * 255).astype(np.uint8)
    assert np.array_equal(np.asarray(nicodec.decode(tiny_encode(pixels, quality=20), device="cpu")), pixels)


def test_choices():
    image = pictures.drawing(90, 70)
    assert "drawn" not in nicodec.read_info(tiny_encode(image, drawn="off"))["sections"]
    assert (
        "drawn"
        not in nicodec.read_info(nicodec.encode(image, model="tiny-full", device="cpu", streams="vq"))["sections"]
    )
    photo = photograph(80, 60)
    assert np.array_equal(np.asarray(nicodec.decode(tiny_encode(photo, drawn="all"))), photo)
    asked = nicodec.encode(pictures.captioned(200, 150), model="tiny-full", device="cpu", streams="sq+vq")
    assert read_file(asked).sections.keys() == {SectionType.SQ, SectionType.VQ}, "tokens that were asked for stay"
    for options in ({"drawn": "some"}, {"drawn": "all", "streams": "sq"}):
        with pytest.raises(errors.UsageError):
            tiny_encode(image, **options)
    with pytest.raises(errors.MissingPartError):
        tiny_encode(image, model="no-such-model")


def test_what_lies_under_drawn_blocks_is_smooth():
    pixels = photograph(96, 96)
    pixels[:, 64:] = 200
    mask = np.zeros((3, 3), np.bool_)
    mask[1, 1] = mask[1, 2] = True
    under = smoothed(pixels, mask)
    covered = cover(mask, (96, 96))
    assert np.array_equal(under[~covered], pixels[~covered])
    assert np.abs(np.diff(under[32:64, 32:].astype(int), axis=0)).max() < 40
    assert np.array_equal(
        smoothed(np.full((70, 50, 1), 9, np.uint8), np.eye(3, 2) > 0), np.full((70, 50, 1), 9, np.uint8)
    )


def test_the_sketch_knows_blocks_at_the_edges():
    found = sketch(np.asarray(pictures.drawing(70, 45)), WEIGHT)
    assert found.mask.shape == found.drawn.shape == found.coded.shape == (2, 3)
    assert found.mask.all()
    assert found.gain > 0


@pytest.mark.parametrize("where", [7, 40, -9])
def test_damage_shows_what_lies_below_and_is_said(where, inside, tmp_path):
    data = bytearray(tiny_encode(pictures.captioned(200, 150)))
    payload = read_file(bytes(data)).payload(SectionType.DRAWN)
    data[data.index(payload) + where % len(payload)] ^= 4
    with pytest.raises(errors.CorruptFileError):
        nicodec.decode(bytes(data), device="cpu")
    (tmp_path / "a.nic").write_bytes(data)
    code, _, err = inside("decode", "a.nic", "-o", "a.png", "--best-effort", "--device", "cpu")
    assert code == errors.PartialPictureError.exit_code
    assert "the DRAWN section (type 9) is damaged" in err
    back = np.asarray(Image.open(tmp_path / "a.png"))
    assert np.abs(back[96:].astype(int) - np.asarray(pictures.captioned(200, 150))[96:]).mean() > 0


def test_a_flat_picture_stays_within_its_own_readers_bound():
    data = tiny_encode(np.full((4500, 4500), 200, np.uint8), effort=1)
    assert nicodec.decode(data, device="cpu", crop=(4495, 0, 5, 5)).getpixel((0, 0)) == 200


def test_what_is_said_of_it(inside, tmp_path):
    pictures.drawing(90, 70).save(tmp_path / "a.png")
    pictures.captioned(200, 150).save(tmp_path / "b.png")
    code, _, err = inside("encode", "a.png", "-o", "a.nic", "--model", "tiny")
    assert code == 0, err
    assert ", exact, " in err
    assert inside("encode", "b.png", "-o", "b.nic", "--model", "tiny", "--drawn", "auto")[0] == 0
    _, out, _ = inside("info", "-v", "a.nic")
    assert b"drawn: 9 of 9 blocks" in out
    assert b"exact" in out
    facts = json.loads(inside("info", "--json", "a.nic")[1])
    assert facts["quality"] is None
    assert facts["drawn"] == {"blocks": 9, "in": 9, "bytes": facts["sections"]["drawn"]}
    assert inside("info", "-v", "b.nic", "--bitmap", "b-{stream}.png")[0] == 0
    assert (tmp_path / "b-sq.png").is_file()
    assert Image.open(tmp_path / "b-drawn.png").size == (200, 150)
    for name in ("a.nic", "b.nic"):
        file = read_file((tmp_path / name).read_bytes())
        assert bit_costs(file)["drawn"].sum() == pytest.approx(8 * len(file.payload(SectionType.DRAWN)), rel=0.4)
        assert inside("verify", name)[0] == 0
    assert inside("decode", "a.nic", "-o", "small.png", "--memory-limit", "1MiB")[0] == errors.LimitError.exit_code


def test_targets_know_that_a_drawing_is_exact():
    picture = from_pillow(pictures.drawing(90, 70))
    options = EncodeOptions(model="tiny", device="cpu")
    for kind, value in (("psnr", 45.0), ("bytes", 2000)):
        data, _, _ = encode_to_target(picture, options, Target(kind, value))
        assert np.array_equal(decode_taus(data, DecodeOptions())[0].pixels, picture.pixels)


def test_verify_tells_other_pixels_from_damage():
    data = tiny_encode(pictures.drawing(90, 70))
    assert verify_bytes(data).symbols == 0
    golden = Path(__file__).parent / "refused" / "InexactError" / "other-drawn-blocks.nic"
    with pytest.raises(errors.InexactError, match="drawn blocks have CRC"):
        verify_bytes(golden.read_bytes())


def test_pillow_opens_it():
    nicodec.register_pillow_plugin()
    image, buffer = pictures.drawing(40, 30), io.BytesIO()
    image.save(buffer, "NIC", model="tiny", device="cpu")
    assert Image.open(buffer).tobytes() == image.tobytes()
