"""Training of what stands on a frozen base, at toy length."""

import shutil

import numpy as np
import pictures
import pytest
import torch
import toy

import nicodec
from nicodec.cli.models import export
from nicodec.entropy.coder import Latent
from nicodec.entropy.tokens import estimate_token_bits
from nicodec.errors import UsageError
from nicodec.latents.effort import to_array
from nicodec.metrics.perceptual import Perception
from nicodec.networks.mode import MoDE
from nicodec.networks.vq import Codebook, VQConfig, VQExpert
from nicodec.rate.tile import TileRate
from nicodec.training import stages
from nicodec.training.cortex import Cortex
from nicodec.training.critic import Critic, grid
from nicodec.training.data import Pictures
from nicodec.training.export import export_dictionary
from nicodec.training.tokens import TokenNet, bits_of, integer_prior, sample_of, tokeniser, train_prior
from nicodec.zoo.load import load_base, load_dictionary, load_scales
from nicodec.zoo.manifest import read_manifest
from nicodec.zoo.store import find_package


def test_the_critic_knows_equal_from_different(trunk):
    critic = Critic(trunk)
    x = torch.from_numpy(pictures.scene(96, 96)).permute(2, 0, 1)[None] / 255
    same, texture = critic(x, x)
    assert same.item() == pytest.approx(0, abs=1e-6)
    assert texture.item() == pytest.approx(0, abs=1e-6)
    noisy, far = (critic((x + level * torch.randn_like(x)).clamp(0, 1), x) for level in (0.02, 0.2))
    assert noisy[0].item() < far[0].item()
    assert 0 < noisy[1].item() < far[1].item()


def test_two_trunks_are_heard_alike(trunk, vgg):
    x = torch.from_numpy(pictures.scene(96, 96)).permute(2, 0, 1)[None] / 255
    noisy = (x + 0.1 * torch.randn_like(x)).clamp(0, 1)
    alone = [torch.stack(Critic(path)(noisy, x)) for path in (trunk, vgg)]
    both = torch.stack(Critic(trunk, vgg)(noisy, x))
    assert torch.allclose(both, (alone[0] + alone[1]) / 2)
    assert (alone[1] - alone[0]).abs().min() > 1e-3


def test_what_is_no_trunk_is_refused_by_name(trunk, tmp_path):
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(UsageError, match=r"text\.pth is no file of weights"):
        Critic(tmp_path / "text.pth")
    with pytest.raises(UsageError, match=r"squeezenet\.pth holds other weights, expected those of AlexNet"):
        Perception(trunk)


def test_the_cortex_sees_structure_and_not_brightness():
    cortex = Cortex()
    x = torch.from_numpy(pictures.scene(96, 96)).permute(2, 0, 1)[None] / 255
    inside = (..., slice(2, -2), slice(2, -2))  # filters that reach over the border see an edge there

    def distance(other):
        return (cortex(other) - cortex(x))[inside].square().sum(1).mean().item()

    blurred = torch.nn.functional.avg_pool2d(x, 5, 1, 2)
    assert cortex.distance(x, x).item() == 0
    assert distance(x + 0.1) < 1e-6
    assert distance(0.9 * x) < 0.1 * distance(blurred)
    assert distance(blurred) > 0.05


def test_the_critic_doubts_itself(trunk):
    critic = Critic(trunk)
    before = {name: weight.clone() for name, weight in critic.named_parameters()}
    x = torch.from_numpy(pictures.scene(96, 96)).permute(2, 0, 1)[None] / 255
    other = (x + 0.1 * torch.randn_like(x)).clamp(0, 1)
    torch.manual_seed(1)
    equal = [critic.anew(x, x)[0].item() for _ in range(3)]
    seen = [critic.anew(other, x)[0].item() for _ in range(3)]
    assert equal == pytest.approx([0, 0, 0], abs=1e-6), "the noise and the changed weights are the same for both"
    assert min(seen) > 0
    assert len({round(value, 6) for value in seen}) == 3
    assert all(torch.equal(weight, before[name]) for name, weight in critic.named_parameters())


def test_the_critics_noise_does_not_hide_what_is_fainter(trunk, monkeypatch):
    critic, x, seen = Critic(trunk), torch.full((2, 3, 96, 96), 0.5), []
    monkeypatch.setattr(critic, "_compare", lambda _, x, **how: seen.append(x.std((1, 2, 3))))
    for _ in range(20):
        critic.anew(x + torch.tensor([0.004, 0.4])[:, None, None, None] * torch.randn_like(x), x)
    faint, strong = torch.stack(seen).max(0).values
    assert 0 < faint < 0.0011, "a quarter of the error"
    assert 0.01 < strong < 0.021, "and never more than this"


def test_mode_starts_as_the_fidelity_expert(tiny):
    base = load_base(tiny, "cpu")
    vq = VQExpert(VQConfig.beside(base.config, stride=32, bits=4, code=4))
    y_hat, code, rate = torch.randn(1, base.config.latent, 8, 8), torch.randn(1, 4, 4, 4), torch.tensor([9000.0])
    with torch.no_grad():
        mode, plain = MoDE.between(base, vq), base.g_s(y_hat, rate)
        assert torch.allclose(mode.decode_fidelity(vq.painter, y_hat, code, rate), plain, atol=1e-5)
        assert torch.allclose(mode.decode_perception(y_hat, code, rate)[0], plain, atol=1e-5)


@pytest.mark.parametrize(("width", "expected"), [({"wide_4": 8}, "wide_4 is 8, expected 48"),
                                                 ({"stride": 8}, "stride is 8, expected 16 or 32")])  # fmt: skip
def test_widths_that_no_stage_could_go_on_from_are_refused(trunk, width, expected):
    with pytest.raises(UsageError, match=expected):
        stages.vq(find_package("tiny"), [trunk], width)


def test_commands_train_and_export_each_stage(inside, data, trunk, tiny, tmp_path, monkeypatch):
    """The whole way, toy length: a package with base and dictionary, each stage and its export, encode, decode."""
    shutil.copytree(tiny.path.parent, package := tmp_path / "models" / "tiny")
    export_dictionary(load_dictionary(find_package("tiny-references").parts["dictionary"]), package)
    monkeypatch.setenv("NICODEC_MODELS", str(package.parent))

    def call(*arguments):
        code, _, said = inside(*arguments)
        assert code == 0, said

    shared = ["--model", "tiny", "--data", data, "--steps", 2, "--batch", 2, "--crop", 64, "--quiet"]
    small = ("bits=4", "code=4", "depth_16=1", "depth_8=1", "depth_4=1")
    call("train", "clc", *shared, "--out", tmp_path / "clc", "--width=wide=8")
    call("models", "export", tmp_path / "clc", "-o", package, "-f")
    call("train", "vq", *shared, "--trunk", trunk, "--out", tmp_path / "vq", *(f"--width={width}" for width in small))
    export(tmp_path / "vq", package, "", [data], steps=20, batch=2, side=128)  # the command trains a prior for minutes
    call("train", "aux", *shared, "--trunk", trunk, "--out", tmp_path / "aux")
    call("train", "fuser", *shared, "--trunk", trunk, "--out", tmp_path / "fuser", "--aux", tmp_path / "aux")
    export(tmp_path / "fuser", package, "", [])  # without its graphs, which take as long as all else
    call("train", "mode", *shared, "--trunk", trunk, "--out", tmp_path / "mode")
    export(tmp_path / "mode", package, "", [])

    parts = read_manifest(package / "model.toml").parts
    assert parts.keys() == {"base", "dictionary", "vq", "fuser", "mode"}
    assert parts["base"].graphs == tiny.graphs, "those that it came with"
    assert parts["dictionary"].graph("clm")
    coded = nicodec.encode(pictures.image(70, 60), model="tiny", references=1, **toy.CODED)
    for anchor in ("fidelity", "perception"):
        for tau in (0, 0.7):
            assert nicodec.decode(coded, anchor=anchor, tau=tau, device="cpu").size == (70, 60)


def test_a_sorted_codebook_halves_along_its_tree():
    torch.manual_seed(0)
    book = Codebook(4, 3)
    before = {tuple(row) for row in book.vectors.tolist()}
    book.sort_as_tree()
    assert {tuple(row) for row in book.vectors.tolist()} == before
    codes = torch.randn(1, 3, 20, 20)
    errors = [(book.lookup(book.nearest(codes, depth), depth) - codes).square().mean().item() for depth in range(1, 5)]
    assert errors == sorted(errors, reverse=True)


def test_the_integer_prior_is_the_trained_prior(tiny):
    torch.manual_seed(0)
    base = load_base(tiny, "cpu")
    vq = VQExpert(VQConfig(base.config.latent, 16, 5, 4, wide_16=8, wide_8=8, depth_16=1, depth_8=1))
    vq.tokenizer.start_from(base.std, torch.arange(4))
    x = torch.from_numpy(pictures.scene(128, 192)).permute(2, 0, 1)[None] / 255
    source = Pictures.__new__(Pictures)
    source.pictures, source.least = [(x[0] * 255).to(torch.uint8)], 128
    net, tokenise = TokenNet(base.config, 1, 5), tokeniser(base, vq)
    static = train_prior(base, net, tokenise, source, steps=30, batch=2, side=128, epochs=16)
    prior = integer_prior(net, static, load_scales(tiny).magnitude)
    z_hat, symbols, tokens, rate = sample_of(base, tokenise, x, torch.tensor([30000.0]))
    expected = bits_of(net, z_hat, symbols, tokens, rate).sum().item()
    latent = Latent(to_array(z_hat.numpy()), to_array(symbols.numpy()), TileRate(30000))
    flat = tokens[0].numpy().astype(np.uint16)
    assert estimate_token_bits(prior, flat, 5, latent) == pytest.approx(expected, rel=0.01)
    assert expected < 0.95 * estimate_token_bits(prior, flat, 5, None)


def test_a_grid_is_found_and_grain_is_not():
    tile = torch.rand(1, 3, 8, 8)
    grain = torch.rand(1, 3, 128, 128)
    pattern = (tile - tile.mean((2, 3), keepdim=True)).repeat(1, 1, 16, 16)
    assert grid(pattern).item() == pytest.approx((1 - 1 / 64) * pattern.square().mean().item(), rel=1e-4)
    assert grid(grain).item() < 0.01 * grain.var().item()
    assert grid(torch.ones(1, 3, 128, 128)).item() < 1e-12
