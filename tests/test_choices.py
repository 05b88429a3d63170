"""What the encoder knows of references before it makes a file, and what it leaves to real files."""

from dataclasses import replace

import numpy as np
import pictures
import pytest
from PIL import Image

from nicodec.container.references import Alignment
from nicodec.encoder import PictureEncoder
from nicodec.entropy.motion import CLASSES
from nicodec.image.arrays import from_array
from nicodec.latents.analysis import analyse
from nicodec.latents.effort import ThriftyRounding
from nicodec.latents.rates import to_rates
from nicodec.options import EncodeOptions
from nicodec.rate.tile import TileRate
from nicodec.references import refer
from nicodec.references.classes import EveryClass, choose_classes
from nicodec.references.expect import Sources, expect
from nicodec.references.library import Held
from nicodec.references.search import NAMED, find_motion, sources
from nicodec.references.warp import Aligned
from nicodec.zoo.model import Model

RATE = TileRate(30000)
NOISE = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)


@pytest.fixture(scope="module")
def model():
    return Model.named("tiny", "auto", "cpu")


def encode(reference, quality=40):
    png = pictures.file_bytes(reference)
    options = EncodeOptions(quality, model="tiny", device="cpu", drawn="off", references=(Held.of(png),))
    return PictureEncoder(from_array(np.asarray(pictures.another_shot(200, 150))), options, several=True).encode(
        quality
    )


def tile_of(model, reference):
    """A second shot's latent, its z, and what a reference makes of it where it lies."""
    picture = from_array(np.asarray(pictures.another_shot(200, 150)))
    (held,) = analyse(picture, model.base, None, 0)
    place = held.around, held.core
    aligned = [Aligned(reference, Alignment(), 200, 150)]
    motion = find_motion(held.pixels, aligned, *place, RATE.rate)
    y, z_hat = model.base.scaled(held.y, to_rates(RATE), held.core)
    return y[:, :, held.core[0], held.core[1]], z_hat, expect(model.base, Sources(aligned), motion, *place)


def never(*_):
    raise AssertionError("this file need not be made")


def test_where_it_is_clear_no_file_is_made_without_references(monkeypatch):
    by_real_files = encode(pictures.image(200, 150))
    with monkeypatch.context() as patched:
        patched.setattr(refer, "CLEAR", 0.0)
        assert encode(pictures.image(200, 150)) == by_real_files
    monkeypatch.setattr(PictureEncoder, "encode_alone", never)
    assert encode(pictures.image(200, 150)) == by_real_files


def test_what_is_in_vain_is_not_tried(monkeypatch):
    monkeypatch.setattr(refer, "lighter", never)
    encode(Image.fromarray(NOISE))


def test_the_estimate_tells_what_helps_from_what_does_not(model):
    (helpful,), (useless,) = (
        choose_classes(model.base, model.scales, y, z_hat, RATE, said)
        for y, z_hat, said in (tile_of(model, each) for each in (np.asarray(pictures.image(200, 150)), NOISE))
    )
    assert helpful.cost < refer.CLEAR * helpful.alone
    assert useless.cost > refer.VAIN * useless.alone


@pytest.mark.parametrize("doubted", [False, True])
def test_one_walk_prices_all_classes(model, doubted):
    """As a walk for each does, about: what later passes see is another choice. And it makes y_hat of what it chose."""
    y, z_hat, said = tile_of(model, np.asarray(pictures.image(200, 150)))
    if doubted:
        said = replace(said, trust=Model.named("tiny-trust", device="cpu").trust(b""))
    everywhere = np.ones_like(said.motion.classes)

    def walked(rounding, classes):
        trusting = replace(said, motion=replace(said.motion, classes=classes))
        _, y_hat = model.base.quantise(y, z_hat, to_rates(RATE), rounding, trusting)
        assert np.square(y_hat - y).mean() < 0.2  # steps: of rounding, and of what is worth no bits
        return rounding

    off = y - said.y * model.base.gain(to_rates(RATE))
    once = walked(EveryClass(model.base, model.scales, z_hat, RATE, everywhere, off, doubting=doubted), everywhere)
    for each in range(1, CLASSES):
        classes = each * everywhere
        own = walked(ThriftyRounding(model.base, model.scales, z_hat, RATE, classes), classes)
        assert once.by_class[0, each - 1].sum() == pytest.approx(own.cost_map.sum(), rel=0.1), each


def test_a_reference_that_saves_less_than_its_name_takes_is_left_out():
    best, rare, useful = np.full((4, 5), 50.0), np.full((4, 5), 90.0), np.full((4, 5), 90.0)
    rare[0, 0] = 40
    useful[3] = 50 - NAMED / 4
    assert set(sources(np.stack([rare, best, useful])).ravel().tolist()) == {1, 2}
    assert set(sources(np.stack([rare])).ravel().tolist()) == {0}
