"""A base or a fuser that starts as its predecessor: the same symbols, bits and pixels, while nothing is learned."""

from dataclasses import replace

import numpy as np
import pictures
import pytest
import torch

from nicodec.errors import MissingPartError, TrainingRunError
from nicodec.networks.base import BaseConfig
from nicodec.networks.fuser import Denoiser, FuserConfig
from nicodec.rate.scale import KNOT_SPACING, KNOTS, TUNE_SPACING
from nicodec.training import stages
from nicodec.training.data import Pictures
from nicodec.training.export import integer_scales
from nicodec.training.inherit import inherit, over_the_rate
from nicodec.training.latents import OwnLatents
from nicodec.training.sq import SQCodec
from nicodec.zoo.load import load_base, load_fuser, load_scales
from nicodec.zoo.store import find_package
from nicodec.zoo.stored import read_config


def successor(part, found=None, **changed):
    """A base that starts as the one in `part`, but for what is changed."""
    torch.manual_seed(0)
    codec = SQCodec(replace(BaseConfig(**read_config(part)), **changed)).eval().requires_grad_(False)
    inherit(codec, part, found)
    return codec


@pytest.fixture(scope="module")
def x():
    return torch.from_numpy(pictures.scene(128, 128)).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("name", ["tiny", "tiny-tunes"])
def test_a_part_is_what_training_made_it_of(name, x):
    part = find_package(name).parts["base"]
    codec, scales = successor(part), load_scales(part)
    again = integer_scales(codec.scales, codec.base.config, scales.tables)
    assert np.array_equal(again.z_index, scales.z_index)
    for name, layer in scales.layers.items():
        found = again.layers[name]
        assert np.array_equal(found.shift, layer.shift)
        assert np.array_equal(found.weight, layer.weight)
        off = np.ldexp(found.bias - layer.bias, -layer.shift)  # of indices by 256, after an offset in float32
        assert np.abs(off).max() <= (0.01 if name.endswith("head") else 0)
    rate = torch.tensor([40000.0])
    for own, expected in zip(codec.base.analyse(x, rate), load_base(part, "cpu").analyse(x, rate), strict=True):
        assert torch.equal(own, expected)


def test_a_larger_base_starts_as_its_predecessor(tiny, x):
    small = successor(tiny)
    large = successor(tiny, depth_8=2, depth_16=3, context_depth=2, tunes=2, lambda_max=0.64)
    share = float(over_the_rate(torch.arange(KNOTS)[:, None].float(), 0.25, 0.64)[1])
    for knot in range(KNOTS - 1):
        before = torch.tensor([knot * share * KNOT_SPACING])  # where lambda is the same
        eye, psnr = (torch.tensor([float(knot * KNOT_SPACING + tune)]) for tune in (0, TUNE_SPACING))
        expected, found, other = small(x, before), large(x, psnr), large(x, eye)
        assert torch.allclose(found.x_hat, expected.x_hat, atol=1e-4)
        assert torch.allclose(found.bits, expected.bits, rtol=1e-4)
        assert not torch.allclose(other.x_hat, found.x_hat, atol=1e-3)
        assert 0.7 * expected.bits < other.bits < 1.05 * expected.bits  # coarser steps, and tables that know it


def test_the_stage_starts_so_and_its_run_says_from_what(tiny):
    recipe = stages.sq(read_config(tiny), find_package("tiny"))
    assert recipe.frozen == {"predecessor": tiny.id.hex()}
    stage = recipe.build("cpu")
    stage.start(None)
    expected = successor(tiny).state_dict()
    assert all(torch.equal(own, expected[name]) for name, own in stage.module.state_dict().items())


@pytest.mark.parametrize("name", ["tiny", "tiny-tunes"])
def test_a_further_slice_holds_what_the_others_leave(name, data, x):
    part = find_package(name).parts["base"]
    small, found = successor(part), Pictures([data], torch.device("cpu"), 256)
    first = small.base.config.latent
    large = successor(part, found, latent=first * 3 // 2, slices=3)
    y, rate = large.base.g_a(x), torch.tensor([50000.0])
    assert torch.allclose(y[:, :first], small.base.g_a(x), atol=1e-5)
    cut = torch.cat([y[:, :first], torch.zeros_like(y[:, first:])], 1)
    assert torch.allclose(large.base.g_s(cut, rate), small.base.g_s(y[:, :first], rate), atol=1e-5)
    left = [(x - 0.5 - large.base.g_s.linear(of))[:, :, 16:-16, 16:-16].square().mean() for of in (y, cut)]
    assert left[0] < 0.9 * left[1]
    assert torch.allclose(large.base.h_a(y / large.base.std[:, None, None], rate),
                          small.base.h_a(y[:, :first] / small.base.std[:, None, None], rate), atol=1e-4)  # fmt: skip
    for old, new in zip(small.scales.steps, large.scales.steps, strict=False):
        assert all(torch.equal(value, new.state_dict()[key]) for key, value in old.state_dict().items())
    spread = y[:, first:].std((0, 2, 3)) / large.base.std[first:]
    assert 0.05 < spread.median() < 20, "steps and tables know about how large it is"


def test_other_widths_are_refused(tiny):
    with pytest.raises(TrainingRunError, match=r"has \(16, 32, 1, 1\) for .*expected \(24, 32, 1, 1\): start"):
        successor(tiny, wide_16=24)
    with pytest.raises(TrainingRunError, match="start without a predecessor"):
        successor(tiny, slices=4)
    with pytest.raises(TrainingRunError, match="start without a predecessor"):
        successor(find_package("tiny-tunes").parts["base"], tunes=1)


def test_a_fuser_starts_as_its_predecessor_on_a_larger_base(tiny, toys, data, x):
    small, found = load_fuser(find_package("toy16").parts["fuser"], "cpu"), Pictures([data], torch.device("cpu"), 256)
    first = small.config.latent
    base = successor(tiny, found, latent=first * 3 // 2, slices=3, depth_16=3, tunes=2, lambda_max=0.64).base
    latents = OwnLatents(base)
    large = Denoiser(FuserConfig(**latents.widths)).requires_grad_(False)
    latents.prepare(large, find_package("toy16"))
    y_hat, t = torch.round(20 * base.g_a(x)) / 20, torch.ones(1)
    y_hat[:, first:] = 0
    linear, step = base.g_s.linear(y_hat), torch.full_like(y_hat, 0.05)
    share = float(over_the_rate(torch.arange(KNOTS)[:, None].float(), 0.25, 0.64)[1])
    for knot in (0, 3, 6):
        before = torch.tensor([knot * share * KNOT_SPACING])
        expected = small(torch.zeros_like(y_hat[:, :first]), t, y_hat[:, :first], linear, step[:, :first], before)
        for tune in (0, TUNE_SPACING):
            rate = torch.tensor([float(knot * KNOT_SPACING + tune)])
            r = large(torch.randn_like(y_hat), t, y_hat, linear, step, rate)  # deaf to what it is given
            assert torch.allclose(r[:, :first], expected, atol=1e-3)
    assert expected.abs().max() > 0.1


def test_a_fuser_hears_the_time_as_its_predecessor_did(tiny, toys):
    small = load_fuser(find_package("toy16").parts["fuser"], "cpu")
    base = successor(tiny, lambda_max=0.64).base
    large = Denoiser(FuserConfig(**OwnLatents(base).widths)).requires_grad_(False)
    small.time.bias.copy_(torch.randn_like(small.time.bias))
    OwnLatents(base).prepare(large, find_package("toy16"))
    assert torch.equal(large.time.bias, small.time.bias)
    small.time.bias.zero_()
    small.g_s.coarse.append(small.g_s.coarse[0])
    with pytest.raises(TrainingRunError, match="not wanted"):
        OwnLatents(base).prepare(large, find_package("toy16"))
    small.g_s.coarse.pop(-1)


def test_a_run_says_whose_fuser_the_auxiliary_encoder_starts_as(tiny, toys):
    recipe = stages.aux(find_package("tiny"), [], {}, find_package("toy16"))
    assert recipe.frozen == {"base": tiny.id.hex(), "predecessor": find_package("toy16").parts["fuser"].id.hex()}
    with pytest.raises(MissingPartError, match="tiny has no fuser"):
        stages.aux(find_package("tiny"), [], {}, find_package("tiny"))
