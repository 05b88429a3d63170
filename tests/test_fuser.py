"""The fuser: tau, its noise, and what must not depend on how a picture is cut."""

import os

import numpy as np
import pictures
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import nicodec
from nicodec import errors
from nicodec.codec import decode_taus
from nicodec.container.layout import Anchor
from nicodec.engines import load_networks
from nicodec.latents.codebook import load_token_path
from nicodec.latents.floats import load_float_path
from nicodec.options import DecodeOptions
from nicodec.painters.experts import WEAKEST, Experts
from nicodec.painters.fuser import Fuser, normals
from nicodec.zoo.store import find_package

pytestmark = pytest.mark.usefixtures("toys")


def encode(image, **options):
    return nicodec.encode(image, model="toy16", device="cpu", quality=20, **options)


def decode(data, **options):
    return np.asarray(nicodec.decode(data, device="cpu", **options)).astype(int)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 5000), st.integers(0, 5000), st.integers(1, 4), st.integers(1, 4))
def test_noise_of_a_part_is_part_of_the_noise(seed, top, left, height, width):
    part = normals(seed, slice(top + 1, top + 1 + height), slice(left + 2, left + 2 + width), 20)
    whole = normals(seed, slice(top, top + height + 2), slice(left, left + width + 3), 20)
    assert np.array_equal(part, whole[:, 1 : 1 + height, 2 : 2 + width])


def test_noise_is_standard_normal_and_its_own_at_each_place():
    noise = normals(1, slice(0, 64), slice(0, 64), 320).astype(np.float64)
    assert abs(noise.mean()) < 0.005
    assert abs(noise.std() - 1) < 0.005
    assert abs((noise**4).mean() - 3) < 0.05
    flat = noise.reshape(320, -1)
    assert abs(np.corrcoef(flat[:40]) - np.eye(40)).max() < 0.08
    assert abs((noise[:, 1:] * noise[:, :-1]).mean()) < 0.005
    assert abs((noise[..., 1:] * noise[..., :-1]).mean()) < 0.005
    assert abs((noise * normals(2, slice(0, 64), slice(0, 64), 320)).mean()) < 0.005


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_an_ideal_denoiser_is_sampled_exactly(steps):
    class Ideal:
        def __call__(self, name, *arrays):
            return (np.full_like(arrays[0], 0.25),)

        def weight(self, name):
            return np.ones(4, np.float32)

    y_hat, noise = np.random.default_rng(0).standard_normal((2, 1, 4, 3, 5), np.float32)
    step, rates = np.full((1, 4, 1, 1), 2, np.float32), np.array([5], np.float32)
    assert np.allclose(Fuser(Ideal(), 6).residual(y_hat, step, noise, rates, steps), 0.5, atol=1e-5)


def test_tau_leads_along_a_line_on_the_base_and_mode_f(toys):
    package = find_package("toy16")
    loaders = {"base": load_float_path, "vq": load_token_path, "mode": load_networks}
    experts = Experts(**{kind: load(package.parts[kind], "auto", "cpu") for kind, load in loaders.items()})
    rate, random = np.array([9000], np.float32), np.random.default_rng(0)
    y_hat, residual = random.standard_normal((2, 1, experts.base.latent, 4, 4), np.float32)
    code = random.standard_normal((1, 8, 4, 4), np.float32)
    linear = experts.base.linear(y_hat)
    for tokens in (None, code):  # before the bound, which is no line
        given = (Anchor.FIDELITY, linear, y_hat, tokens, rate)
        plain, half, whole = experts._anchored(*given, residual, (0.0, 0.5, 1.0), WEAKEST)
        assert np.array_equal(plain, experts._anchored(*given, None, (0.0,), WEAKEST)[0])
        assert np.allclose(whole - plain, 2 * (half - plain), atol=1e-4)
        assert np.allclose(whole - plain, experts.base.correction_towards(plain, y_hat + residual), atol=1e-4)


@pytest.mark.parametrize("anchor", ["fidelity", "perception"])
def test_tau_leads_from_the_plain_picture_to_another(anchor):
    data = encode(pictures.image(90, 70))
    plain = decode(data, anchor=anchor)
    far = [abs(decode(data, anchor=anchor, tau=tau) - plain).mean() for tau in (0, 0.25, 0.5, 1)]
    assert far[0] == 0
    assert 0 < far[1] < far[2] < far[3]


def test_tau_zero_needs_no_fuser(toys, tiny, tmp_path, monkeypatch):
    data = encode(pictures.image(64, 64), streams="sq")
    (tmp_path / "tiny").symlink_to(tiny.path.parent)
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path))
    decode(data, tau=0)
    with pytest.raises(errors.MissingPartError, match=tiny.id.hex()):
        decode(data, tau=0.1)


def test_many_taus_are_the_same_as_one_at_a_time():
    data = encode(pictures.image(90, 70))
    together = decode_taus(data, DecodeOptions(taus=(0.0, 0.5, 1.0), device="cpu"))
    for tau, picture in zip((0.0, 0.5, 1.0), together, strict=True):
        assert np.array_equal(picture.pixels, decode(data, tau=tau))


def test_seed_and_steps_decide_and_the_default_seed_is_the_files_own():
    data = encode(pictures.image(64, 64))
    assert np.array_equal(decode(data, tau=1), decode(data, tau=1))
    assert not np.array_equal(decode(data, tau=1, seed=1), decode(data, tau=1, seed=2))
    assert not np.array_equal(decode(data, tau=1, seed=1, steps=1), decode(data, tau=1, seed=1, steps=2))


@pytest.mark.parametrize("anchor", ["fidelity", "perception"])
@pytest.mark.parametrize("stride", [16, 32])
def test_a_crop_is_cut_out_of_the_whole(tiny, tmp_path, monkeypatch, stride, anchor):
    """Across the seam of two tiles, and where the fuser's halo is odd but tokens are two positions wide."""
    toy.make_model(tmp_path, "mine", tiny, stride=stride)
    monkeypatch.setenv("NICODEC_MODELS", f"{tmp_path}{os.pathsep}{tiny.path.parents[1]}")
    data = nicodec.encode(pictures.image(1300, 300), model="mine", device="cpu", quality=20, streams="sq+vq")
    whole = decode(data, tau=1, seed=3, anchor=anchor)
    part = decode(data, tau=1, seed=3, anchor=anchor, crop=(600, 200, 500, 60))
    assert np.abs(whole[200:260, 600:1100] - part).max() <= 1


def test_what_cannot_be_done_is_said():
    data = encode(pictures.image(64, 64), streams="vq")
    with pytest.raises(errors.MissingStreamError, match="no latents"):
        decode(data, tau=0.5)
    for options in ({"tau": 1.5}, {"tau": -0.1}, {"steps": 0}, {"steps": 9}, {"seed": -1}):
        with pytest.raises(errors.UsageError, match="expected"):
            decode(data, **options)


def test_taus_on_the_command_line(nicodec, tmp_path, toys):
    (tmp_path / "a.nic").write_bytes(encode(pictures.image(64, 64)))
    environment = {"NICODEC_MODELS": str(toys)}
    code, _, errors_ = nicodec("decode", "a.nic", "-o", "out-{tau}.png", "--tau", "0,0.5,1", environment=environment)
    assert code == 0, errors_
    taken = [np.asarray(Image.open(tmp_path / f"out-{tau}.png")) for tau in ("0", "0.5", "1")]
    assert not np.array_equal(taken[0], taken[1])
    assert not np.array_equal(taken[1], taken[2])
    code, _, errors_ = nicodec("decode", "a.nic", "-o", "out.png", "--tau", "0,1", environment=environment)
    assert code == 2
    assert "{tau}" in errors_
    code, _, errors_ = nicodec("decode", "a.nic", "-o", "out.png", "--tau", "much", environment=environment)
    assert code == 2
    assert "expected a number" in errors_
