"""Tunes and quality maps in the networks that paint: every block is painted at its own rate, whatever is decoded."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pictures
import pytest
from PIL import Image
from toy import CODED

import nicodec
from nicodec.bases.own_decoder import OwnDecoder
from nicodec.codec import encode_picture
from nicodec.container.layout import Anchor, Box, Section, SectionType, Tune
from nicodec.container.reader import read_file
from nicodec.container.writer import write_file, write_tiles
from nicodec.errors import CorruptFileError, UsageError
from nicodec.image.files import from_pillow
from nicodec.latents.floats import load_float_path
from nicodec.latents.geometry import positions, to_pixels
from nicodec.latents.rates import to_rates
from nicodec.look.session import Session
from nicodec.metrics.psnr import psnr
from nicodec.options import EncodeOptions
from nicodec.painters.experts import Experts
from nicodec.painters.synthesis import gather, rates_around
from nicodec.rate.scale import LEVEL_STEP
from nicodec.rate.tile import TileRate
from nicodec.streams import code_latent
from nicodec.target import Target, encode_to_target
from nicodec.zoo.load import load_scales
from nicodec.zoo.store import find_package

ROOT = Path(__file__).parents[1]
LARGE = 1100, 1050  # pixels: four tiles


def part(model="tiny-tunes"):
    return find_package(model).parts["base"]


def file_of(size, tune=Tune.EYE, levels=None, rate=30000, model="tiny-tunes"):
    """A picture's symbols in a file of another base. `levels`: of a grid of blocks, its quality map."""
    file = read_file(nicodec.encode(pictures.image(*size), model="tiny", quality=60, effort=1, **CODED))
    scales, tiles = load_scales(part(model)), []
    for held in OwnDecoder(file).symbols().values():
        map_ = None if levels is None else levels(*held.latent.z_hat.shape[:2]).astype(np.int16)
        tiles.append(
            code_latent(scales, replace(held.latent, rate=TileRate(rate, tune or 0, map_), indices=None), True)
        )
    header = replace(file.header, version=2, tune=tune, mapped=levels is not None, base_id=part(model).id, rate=rate)
    return write_file(header, [Section(SectionType.SQ, write_tiles(tiles))])


def random_levels():
    """Other ones for each tile, some of them as far as they go."""
    random = np.random.RandomState(1)
    return lambda height, width: np.clip(random.randint(-20, 20, (height, width)), -16, 15)


def decode(data, **options):
    return np.asarray(nicodec.decode(data, device="cpu", **options)).astype(int)


def test_rates_around_take_each_tiles_own_map_and_the_files_rate_where_there_is_none():
    file = read_file(file_of(LARGE, Tune.PSNR, random_levels()))
    symbols = OwnDecoder(file).symbols()
    knots = [held.latent.rate.knots() for held in symbols.values()]
    whole = np.block([knots[:2], knots[2:]])
    region = slice(8, 68), slice(60, 72)
    found = rates_around(symbols, file.header, region)
    assert np.array_equal(found[0], whole[2:17, 15:18])
    lost = next(iter(symbols))
    found = rates_around({**symbols, lost: replace(symbols[lost], latent=None)}, file.header, region)
    expected = whole.copy()
    expected[:16, :16] = TileRate(30000, Tune.PSNR).knots()
    assert np.array_equal(found[0], expected[2:17, 15:18])
    plain = read_file(file_of((70, 70), Tune.PSNR))
    assert rates_around({}, plain.header, region).tolist() == [TileRate(30000, 1).knots()]


@pytest.mark.parametrize("tune", Tune)
def test_a_map_of_zeros_is_no_map_to_the_bit(tune):
    plain = decode(file_of((200, 150), tune))
    assert np.array_equal(decode(file_of((200, 150), tune, lambda *shape: np.zeros(shape))), plain)


@pytest.mark.parametrize("level", [-3, 2, 15])
def test_a_constant_map_is_a_shift_of_the_rate_to_the_bit(level):
    shifted = min(30000 + level * LEVEL_STEP, 65535)
    plain = decode(file_of((200, 150), Tune.PSNR, rate=shifted))
    assert np.array_equal(decode(file_of((200, 150), Tune.PSNR, lambda *shape: np.full(shape, level))), plain)


def test_tunes_and_maps_matter():
    kinds = [(tune, levels) for tune in Tune for levels in (None, random_levels())]
    painted = [decode(file_of((200, 150), *kind)) for kind in kinds]
    for first in range(len(painted)):
        for second in range(first):
            assert np.abs(painted[first] - painted[second]).mean() > 1


@pytest.mark.parametrize("tune", Tune)
def test_tiled_and_untiled_agree(tune):
    """Four tiles with maps of their own, painted one after the other, and all at once."""
    data = file_of(LARGE, tune, random_levels())
    file, experts = read_file(data), Experts(load_float_path(part(), "auto", "cpu"))
    symbols, whole = OwnDecoder(file).symbols(), positions(Box(0, 0, *LARGE))
    y_hat, _ = gather(symbols, experts, whole, 0)
    rates = rates_around(symbols, file.header, whole)
    (at_once,) = experts.paint(Anchor.FIDELITY, y_hat, None, rates)
    expected = to_pixels(at_once[0], 3)[: LARGE[1], : LARGE[0]].astype(int)
    assert np.abs(decode(data) - expected).max() <= 1


@pytest.mark.parametrize("crop", [(0, 0, 1, 1), (1000, 3, 90, 40), (300, 69, 724, 1), (1030, 900, 70, 150)])
def test_a_crop_is_that_part_of_the_picture(crop):
    data = file_of(LARGE, Tune.PSNR, random_levels())
    left, top, width, height = crop
    part_ = decode(data, crop=crop)
    assert np.abs(part_ - decode(data)[top : top + height, left : left + width]).max() <= 1
    assert np.abs(part_ - Session(data, "cpu").render("fidelity", 0, 1, Box(*crop))).max() <= 1


def test_the_fuser_hears_the_mean_rate_of_a_tiles_map():
    levels = np.array([[-2, 4], [15, 3]], np.int16)
    assert TileRate(60000, 1, levels).flat().knots() == round((55904 + 2 * 65535 + 65535) / 4) + 73728
    assert to_rates(TileRate(3, 0, 0 * levels).flat()).tolist() == [3]
    plain, mapped = (file_of((200, 150), None, of, model="tiny") for of in (None, lambda *shape: np.zeros(shape)))
    assert np.array_equal(decode(mapped, tau=1.0, seed=1), decode(plain, tau=1.0, seed=1))
    data = file_of(LARGE, None, random_levels(), model="tiny")
    whole = decode(data, tau=1.0)
    assert np.abs(whole - decode(data)).mean() > 0.1
    assert np.abs(decode(data, tau=1.0, crop=(1000, 3, 90, 40)) - whole[3:43, 1000:1090]).max() <= 1
    assert (
        np.abs(Session(data, "cpu").render("fidelity", 1.0, 1, Box(1000, 3, 90, 40)) - whole[3:43, 1000:1090]).max()
        <= 1
    )


@pytest.mark.parametrize("effort", [1, 3, 5])
def test_each_tune_is_encoded_and_said(effort):
    image, files = pictures.image(150, 100), {}
    for tune in ("eye", "psnr"):
        files[tune] = nicodec.encode(image, model="tiny-tunes", tune=tune, effort=effort, quality=70, **CODED)
        assert nicodec.read_info(files[tune])["tune"] == tune
        assert psnr(np.asarray(image), decode(files[tune])) > 15
    assert len(files["eye"]) < len(files["psnr"])  # its steps are coarser
    assert psnr(np.asarray(image), decode(files["eye"])) < psnr(np.asarray(image), decode(files["psnr"]))


def test_coarseness_is_how_much_larger_a_tunes_steps_are():
    base = load_float_path(part(), "auto", "cpu")
    levels = np.arange(-2, 4).reshape(2, 3).astype(np.int16)
    for own in (None, levels):
        eye, plain = (to_rates(TileRate(30000, tune, own)) for tune in (Tune.EYE, Tune.PSNR))
        assert base.coarseness(eye).shape == base.ungain(eye).shape
        np.testing.assert_allclose(base.coarseness(eye), base.ungain(eye) / base.ungain(plain), rtol=1e-5)
        assert (base.coarseness(plain) == 1).all()
    alone = load_float_path(part("tiny"), "auto", "cpu")
    assert (alone.coarseness(to_rates(TileRate(30000))) == 1).all()


@pytest.mark.parametrize("tune", ["eye", "psnr"])
def test_a_correction_goes_as_far_in_either_tune(tune, monkeypatch):
    """Where its steps are coarser, an error of one weighs more: too long a way took 15 % more bits in tune `eye`."""
    monkeypatch.setenv("NICODEC_MODELS", str(ROOT / "models"))
    image = Image.open(ROOT / "examples" / "scene.png").convert("RGB")
    plain, corrected = (
        nicodec.encode(image, model="base2", tune=tune, effort=effort, quality=60, drawn="off") for effort in (2, 3)
    )
    assert len(corrected) <= 1.08 * len(plain)
    assert psnr(np.asarray(image), decode(corrected)) > psnr(np.asarray(image), decode(plain)) + 0.1


def test_a_model_with_one_tune_is_coded_in_that():
    image = pictures.image(70, 60)
    eye, either = (nicodec.encode(image, model="tiny", tune=tune, **CODED) for tune in ("eye", "psnr"))
    assert eye == either
    assert nicodec.read_info(eye)["tune"] is None
    with pytest.raises(UsageError, match="tune is 'ssim', expected one of eye, psnr"):
        nicodec.encode(image, model="tiny", tune="ssim")


def test_the_psnr_of_the_old_base_is_the_psnr_of_the_base_with_tunes():
    """The toy's second tune is the tiny base: the same symbols, coded by the same tables, and the same pixels."""
    image = pictures.image(150, 100)
    old, new = (nicodec.encode(image, model=model, tune="psnr", **CODED) for model in ("tiny", "tiny-tunes"))
    assert read_file(old).payload(SectionType.SQ) == read_file(new).payload(SectionType.SQ)
    assert np.array_equal(decode(old), decode(new))


def test_the_command_takes_a_tune_in_batches_and_with_targets(tmp_path, inside):
    for name in "ab":
        pictures.image(90, 70).save(tmp_path / f"{name}.png")
    code, _, said = inside("encode", "a.png", "b.png", "-o", "out", "--model", "tiny-tunes", "--tune", "psnr",
                           "--drawn", "off")  # fmt: skip
    assert code == 0, said
    assert nicodec.read_info(tmp_path / "out" / "b.nic")["tune"] == "psnr"
    code, _, said = inside("encode", "a.png", "-o", "c.nic", "--model", "tiny-tunes", "--target-size", "1000",
                           "--drawn", "off")  # fmt: skip
    assert code == 0, said
    assert nicodec.read_info(tmp_path / "c.nic")["tune"] == "eye"
    assert 900 < (tmp_path / "c.nic").stat().st_size <= 1000
    assert b"tune: eye" in inside("info", "-v", "c.nic")[1]
    assert inside("encode", "a.png", "-o", "d.nic", "--tune", "best")[0] == 2


def test_a_target_is_found_beyond_two_qualities_of_one_size():
    picture = from_pillow(pictures.image(90, 70))
    options = EncodeOptions(model="tiny-tunes", device="cpu", drawn="off")
    aim = len(encode_picture(picture, options)) - 2  # the first step from the usual quality is too small to change much
    data, quality, size = encode_to_target(picture, options, Target("bytes", aim))
    assert 0.95 * aim < len(data) == size <= aim
    assert quality < options.quality


def test_a_file_must_name_the_tune_of_a_base_with_several():
    file = read_file(file_of((70, 70), Tune.PSNR))
    nameless = write_file(replace(file.header, tune=None), list(file.sections.values()))
    with pytest.raises(CorruptFileError, match="says no tune of a base that has 2"):
        nicodec.decode(nameless)
