"""A base of two tunes at toy length: what is exported codes in each tune, under any quality map, as it was trained."""

import numpy as np
import pictures
import pytest
import torch

import nicodec
from nicodec.codec import verify_bytes
from nicodec.entropy.coder import decode_latent, encode_latent, estimate_bits
from nicodec.entropy.tables import gaussian_tables
from nicodec.latents.rates import to_rates
from nicodec.networks.base import BaseConfig
from nicodec.networks.fuser import Denoiser, FuserConfig
from nicodec.rate.tile import TileRate
from nicodec.training.data import Pictures
from nicodec.training.export import export_base, integer_scales, load_run
from nicodec.training.loop import Run, Schedule
from nicodec.training.sq import SQStage
from nicodec.training.tables import latent_of, measure_tables
from nicodec.training.visual import visual_error
from nicodec.zoo.load import load_scales
from nicodec.zoo.store import find_package

pytestmark = pytest.mark.xdist_group("training_tunes")

CPU = torch.device("cpu")
TOY = BaseConfig(
    latent=16, hyper=4, wide_8=8, wide_16=8, depth_8=1, depth_16=4, context=8, scale_context=8, context_depth=2,
    tunes=2, lambda_max=0.64, eased=4.0,
)  # fmt: skip
MAPS = {
    "none": None,
    "flat": np.full((4, 5), 3, np.int16),
    "extremes": np.where(np.add.outer(np.arange(4), np.arange(5)) % 2, 15, -16).astype(np.int16),
    "noise": np.random.RandomState(0).randint(-6, 7, (4, 5)).astype(np.int16),
}


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A run of some steps."""
    folder = tmp_path_factory.mktemp("runs") / "sq"
    torch.manual_seed(7)
    stage, pictures_ = SQStage(TOY), Pictures([data], CPU, 256)
    stage.start = lambda found: stage.module.start_from_klt(found, 20)
    schedule = Schedule(steps=4, batch=2, crop=128, doublings=(), warmup=2)
    Run(stage, schedule, folder, CPU, pictures_, None, resume=False, init=None, quiet=True).train()
    return folder


@pytest.fixture(scope="module")
def exported(trained, data, tmp_path_factory):
    """The folder with the package `twotunes`, made of the run with the command's own functions."""
    folder = tmp_path_factory.mktemp("models")
    codec = load_run(trained)
    export_base(codec, folder / "twotunes", "a toy", measure_tables(codec, Pictures([data], CPU, 256), count=4))
    return folder


@pytest.fixture
def scales(exported, monkeypatch):
    """The integer path of the package."""
    monkeypatch.setenv("NICODEC_MODELS", str(exported))
    return load_scales(find_package("twotunes").parts["base"])


def picture():
    """(1, 3, 256, 320), 0..1."""
    return torch.from_numpy(pictures.scene(320, 256)).permute(2, 0, 1)[None] / 255


def test_each_tune_has_its_own_rows_and_tables(scales):
    assert scales.tunes == 2
    assert len(scales.z_index) == 18
    assert not np.array_equal(scales.tables[0].counts, scales.tables[1].counts)
    for layer in scales.layers.values():
        assert len(layer.bias) == 18
    bias = scales.layers["0.head"].bias
    assert not np.array_equal(bias[:9], bias[9:])


@pytest.mark.parametrize("levels", MAPS.values(), ids=MAPS.keys())
@pytest.mark.parametrize("tune", [0, 1])
def test_symbols_come_back_and_take_what_training_estimated(scales, trained, tune, levels):
    codec, x = load_run(trained), picture()
    gaussian = integer_scales(codec.scales, TOY, (gaussian_tables(),) * 2)
    for value in (4000, 33000, 65535):
        rate = TileRate(value, tune, levels)
        latent = latent_of(codec, x, rate)
        stream = encode_latent(scales, latent)
        back = decode_latent(scales, stream, 4, 5, TileRate(value, tune), mapped=levels is not None)
        assert np.array_equal(back.z_hat, latent.z_hat)
        assert np.array_equal(back.symbols, latent.symbols)
        assert levels is None or np.array_equal(back.rate.levels, levels)
        with torch.no_grad():
            expected = codec(x, torch.from_numpy(to_rates(rate))).bits.item()
        assert 8 * len(encode_latent(gaussian, latent)) == pytest.approx(expected, rel=0.04)
        assert 8 * len(stream) == pytest.approx(estimate_bits(scales, latent), rel=0.01)
        assert 8 * len(stream) < 1.03 * expected


def test_the_command_encodes_and_decodes_with_it(exported, monkeypatch):
    monkeypatch.setenv("NICODEC_MODELS", str(exported))
    image = pictures.image(100, 70)
    coded = nicodec.encode(image, quality=70, model="twotunes", device="cpu")
    verify_bytes(coded)
    facts = nicodec.read_info(coded)
    assert (facts["format_version"], facts["tune"]) == (2, "eye")
    assert nicodec.decode(coded, device="cpu").size == image.size


def test_what_eyes_lose_is_the_same_while_networks_compute_in_bf16():
    """Variances are small differences of large numbers: in bf16 they were noise, which `eye` was trained by."""
    x = torch.from_numpy(np.asarray(pictures.image(128, 128), np.float32) / 255).permute(2, 0, 1)[None]
    x_hat = (x + 0.02 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            seen = x_hat.bfloat16() if enabled else x_hat.bfloat16().float()  # what a network would hand over
            error = sum(share * part.mean() for part, share in visual_error(seen, x))
        found.append((error, *torch.autograd.grad(error, x_hat)))
    torch.testing.assert_close(*found, rtol=0.01, atol=1e-4)


def test_what_a_fuser_finds_is_no_rounding_of_bf16():
    """It is a small difference of large latents: a sixth of its spread was noise, which it was trained through."""
    torch.manual_seed(0)
    denoiser = Denoiser(FuserConfig(latent=24, wide_16=16, wide_8=16, depth_16=1, depth_8=2))
    y_hat, t, rate = torch.randn(1, 24, 8, 8), torch.ones(1), torch.tensor([20000.0])
    with torch.autocast("cpu", torch.bfloat16):
        linear = denoiser.g_s.linear(y_hat)
        r = denoiser(torch.zeros_like(y_hat), t, y_hat, linear, torch.full_like(y_hat, 0.05), rate)
    assert r.abs().max() < 1e-3  # a new one adds nothing
