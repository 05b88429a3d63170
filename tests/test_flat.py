"""Flat parts stay flat: skies of few bytes keep their hue, and white paper is white."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nicodec
from nicodec.latents.floats import load_float_path
from nicodec.zoo.store import find_package

CASES = Path(__file__).parent / "cases"
MEANS = 16  # pixels along a side of the blocks whose mean hue is looked at


@pytest.fixture(autouse=True)
def shipped(monkeypatch):
    monkeypatch.delenv("NICODEC_MODELS")


def hue(pixels):
    """Mean Cb and Cr of blocks: (rows, columns, 2)."""
    r, g, b = np.moveaxis(pixels.astype(float), 2, 0)
    grey = 0.299 * r + 0.587 * g + 0.114 * b
    chroma = np.stack([0.564 * (b - grey), 0.713 * (r - grey)], 2)
    return chroma.reshape(len(chroma) // MEANS, MEANS, -1, MEANS, 2).mean((1, 3))


def test_a_sky_of_few_bytes_keeps_its_hue():
    """Thrifty rounding of the flat colours had neighbours err alike."""
    original = np.asarray(Image.open(CASES / "sky512.png").convert("RGB"))
    data = nicodec.encode(original, quality=30, streams="sq", drawn="off")
    found = np.asarray(nicodec.decode(data))
    assert len(data) <= 500
    assert 10 * np.log10(255**2 / np.square(found.astype(float) - original).mean()) >= 49.5
    assert np.abs(hue(found) - hue(original)).mean() <= 0.32


def test_which_components_are_a_flat_colour():
    """One for each colour: what the mean of a patch, brighter or of another hue, adds most to."""
    base = load_float_path(find_package("base1").parts["base"], "onnx", "cpu")
    assert base.flat.sum() == 3
    y_hat = np.zeros((1, base.latent, 8, 8), np.float32)
    y_hat[:, base.flat] = 1
    patch = base.linear(y_hat)[0, :, 48:80, 48:80]
    assert np.abs(patch - patch.mean((1, 2), keepdims=True)).max() < 0.05 * np.abs(patch).max()


@pytest.mark.parametrize("quality", [10, 30, 60])
def test_white_around_black_text_is_white(quality):
    image = Image.open(CASES / "text_bw.png").convert("RGB")
    paper = np.asarray(image) == 255
    assert (np.asarray(nicodec.decode(nicodec.encode(image, quality=quality)).convert("RGB"))[paper] == 255).all()
