"""Tunes and quality maps in the networks that paint: every block is painted at its own rate, whatever is decoded."""

from dataclasses import replace

import numpy as np
import pictures
import pytest
import torch

import nicodec
from nicodec.container.layout import Anchor, Box, Section, SectionType, Tune
from nicodec.container.reader import read_file
from nicodec.container.writer import write_file, write_tiles
from nicodec.look.session import Session
from nicodec.networks.experts import Experts
from nicodec.networks.layers import to_rates
from nicodec.networks.tiling import gather, positions, rates_around, to_pixels
from nicodec.rate.scale import LEVEL_STEP
from nicodec.rate.tile import TileRate
from nicodec.streams import code_latent, decode_symbols
from nicodec.zoo.load import load_base, load_scales
from nicodec.zoo.store import find_package

LARGE = 1100, 1050  # pixels: four tiles


def part(model="tiny-tunes"):
    return find_package(model).parts["base"]


def file_of(size, tune=Tune.EYE, levels=None, rate=30000, model="tiny-tunes"):
    """A picture's symbols in a file of another base. `levels`: of a grid of blocks, its quality map."""
    file = read_file(nicodec.encode(pictures.image(*size), model="tiny", quality=60, effort=1, device="cpu"))
    scales, tiles = load_scales(part(model)), []
    for held in decode_symbols(file, None).values():
        map_ = None if levels is None else levels(*held.latent.z_hat.shape[:2]).astype(np.int16)
        tiles.append(code_latent(scales, replace(held.latent, rate=TileRate(rate, tune, map_), indices=None), True))
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
    symbols = decode_symbols(file, None)
    knots = [held.latent.rate.knots() for held in symbols.values()]
    whole = np.block([knots[:2], knots[2:]])
    region = slice(8, 68), slice(60, 72)
    found = rates_around(symbols, file.header, region, torch.device("cpu"))
    assert np.array_equal(found[0], whole[2:17, 15:18])
    lost = next(iter(symbols))
    found = rates_around({**symbols, lost: replace(symbols[lost], latent=None)}, file.header, region, found.device)
    expected = whole.copy()
    expected[:16, :16] = TileRate(30000, Tune.PSNR).knots()
    assert np.array_equal(found[0], expected[2:17, 15:18])
    plain = read_file(file_of((70, 70), Tune.PSNR))
    assert rates_around({}, plain.header, region, found.device).tolist() == [TileRate(30000, 1).knots()]


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
    file, experts = read_file(data), Experts(load_base(part(), "cpu"))
    symbols, whole = decode_symbols(file, None), positions(Box(0, 0, *LARGE))
    y_hat, _ = gather(symbols, experts, whole, 0)
    rates = rates_around(symbols, file.header, whole, torch.device("cpu"))
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
    assert to_rates(TileRate(3, 0, 0 * levels).flat(), "cpu").tolist() == [3]
    plain, mapped = (file_of((200, 150), levels=of, model="tiny") for of in (None, lambda *shape: np.zeros(shape)))
    assert np.array_equal(decode(mapped, tau=1.0, seed=1), decode(plain, tau=1.0, seed=1))
    data = file_of(LARGE, levels=random_levels(), model="tiny")
    whole = decode(data, tau=1.0)
    assert np.abs(whole - decode(data)).mean() > 0.1
    assert np.abs(decode(data, tau=1.0, crop=(1000, 3, 90, 40)) - whole[3:43, 1000:1090]).max() <= 1
    assert (
        np.abs(Session(data, "cpu").render("fidelity", 1.0, 1, Box(1000, 3, 90, 40)) - whole[3:43, 1000:1090]).max()
        <= 1
    )
