"""No anchor runs away on hard edges: a painted picture stays near the linear synthesis of its latents."""

import numpy as np
import pytest
import torch
from PIL import Image

import nicodec
from nicodec.bases.own import OwnDecoder
from nicodec.container.layout import Box
from nicodec.container.reader import read_file
from nicodec.latents.floats import load_float_path
from nicodec.latents.geometry import neighbourhood, to_pixels
from nicodec.networks.trust import bounded
from nicodec.painters.experts import Experts
from nicodec.painters.synthesis import gather
from nicodec.training import drawn
from nicodec.zoo.store import find_package

UNSEEN = 6.5  # mean squared error in levels: 40 dB
SIDE = 128


def checks(cell, phase):
    rows, columns = (np.indices((SIDE, SIDE)) + phase) // cell
    return np.repeat(((rows + columns) % 2 * 255).astype(np.uint8)[..., None], 3, 2)


def drawings():
    yield from (
        (f"checks of {cell} at {phase}", checks(cell, phase)) for cell, phase in ((3, 0), (8, 0), (8, 5), (21, 8))
    )
    for seed in range(4):
        for kind in ("_cells", "_shapes", "_text"):
            pixels = np.asarray(getattr(drawn, kind)(SIDE, np.random.default_rng(seed))).astype(np.uint8)
            yield f"{kind} {seed}", pixels


@pytest.fixture(scope="module", autouse=True)
def shipped():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("NICODEC_MODELS")
        yield


def linear_synthesis(data):
    file = read_file(data)
    base = load_float_path(find_package("base1").parts["base"], "auto", "cpu")
    symbols = OwnDecoder(file).symbols()
    region, _ = neighbourhood(Box(0, 0, SIDE, SIDE), SIDE, SIDE)
    y_hat, _ = gather(symbols, Experts(base), region, 0)
    return to_pixels(base.linear(y_hat)[0] + 0.5, 3)


def block_errors(a, b):
    squared = (a.astype(float) - b.astype(float)) ** 2
    return squared.reshape(SIDE // 64, 64, SIDE // 64, 64, 3).mean((1, 3, 4))


@pytest.mark.parametrize("quality", [10, 80])
def test_no_block_of_a_drawing_is_far_below_the_linear_synthesis(quality):
    for name, pixels in drawings():
        data = nicodec.encode(pixels, quality=quality, references="off", effort=1, drawn="off")
        linear = block_errors(linear_synthesis(data), pixels)
        for options, decibels in (({}, 1.25), ({"tau": 1.0}, 3.0), ({"anchor": "perception", "tau": 0.7}, 3.0)):
            found = block_errors(np.asarray(nicodec.decode(data, **options).convert("RGB")), pixels)
            assert (found <= np.maximum(linear * 10 ** (decibels / 10), UNSEEN)).all(), (name, options)


def test_what_is_not_finite_or_far_away_is_left_out_and_the_rest_stays():
    linear = torch.rand(1, 3, 64, 64)
    step = torch.full((1, 320, 1, 1), 0.1)
    near = linear + 0.001
    assert torch.equal(bounded(near, linear, step, 1.0), linear + (near - linear))
    for wild in (torch.nan, torch.inf, 3.0):
        far = near.clone()
        far[:, :, :16, :16] += wild
        found = bounded(far, linear, step, 1.0)
        assert torch.equal(found[:, :, :16, :16], linear[:, :, :16, :16])
        assert torch.allclose(found[:, :, 48:, 48:], near[:, :, 48:, 48:])


def test_a_plain_decode_of_checks_is_no_garbage(tmp_path):
    Image.fromarray(checks(8, 0)).save(tmp_path / "checks.png")
    data = nicodec.encode(tmp_path / "checks.png", references="off", drawn="off")
    error = block_errors(np.asarray(nicodec.decode(data).convert("RGB")), checks(8, 0)).mean()
    assert 10 * np.log10(255**2 / error) > 25
