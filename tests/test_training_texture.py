"""Tokens of texture in training: the codebook, what a fuser hears, what it is looked at by, and how far tau leads."""

import copy
from dataclasses import asdict

import numpy as np
import pictures
import pytest
import torch
import toy

import nicodec
from nicodec.bases.own_decoder import OwnDecoder
from nicodec.container.layout import Anchor
from nicodec.container.reader import read_file
from nicodec.engines.torch import TorchNetworks
from nicodec.latents import wording
from nicodec.latents.floats import FloatPath
from nicodec.latents.geometry import to_input
from nicodec.latents.rates import to_rates
from nicodec.latents.texture import Texture
from nicodec.networks.fuser import Denoiser, FuserConfig
from nicodec.painters.experts import Experts
from nicodec.painters.fuser import told
from nicodec.painters.strength import Strength
from nicodec.rate.tile import TileRate
from nicodec.training.anchored import anchored
from nicodec.training.critic import Critic
from nicodec.training.fuser import LOST, FuserStage, show
from nicodec.training.latents import OwnLatents
from nicodec.training.texture import ratios_of, tree
from nicodec.zoo.load import load_base, load_scales
from nicodec.zoo.manifest import read_manifest
from nicodec.zoo.model import Model
from nicodec.zoo.store import find_package

pytestmark = pytest.mark.xdist_group("training-texture")

GROUPS = np.array([-1, 0, 0, 1, 1, 1, 2, 2])
CENTRES = np.linspace(-0.5, 0.8, 12, dtype=np.float32).reshape(4, 3)
USAGE = np.array([1, 2, 3, 4], np.float32)


@pytest.fixture(scope="module", autouse=True)
def models(tiny, tmp_path_factory):
    """Packages `textured`, of one tune and with tokens, and `textured-tunes`, a base of two."""
    folder = tmp_path_factory.mktemp("models")
    package = toy.renamed(tiny, folder / "textured")
    toy.make_two_tunes(folder, "textured-tunes", tiny)
    part = read_manifest(package / "model.toml").parts["base"]
    toy.add_texture(package, load_base(part, "cpu"), load_scales(part).magnitude)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NICODEC_MODELS", str(folder))
        yield


def test_training_hears_the_tokens_that_an_encoder_writes(monkeypatch):
    monkeypatch.setattr(wording, "DISTANCE_PER_BIT", 0.0)
    model, image = Model.named("textured"), pictures.grainy(128, 192)
    data = nicodec.encode(image, **{"model": "textured", **toy.CODED, "effort": 1, "quality": 40})
    base = copy.deepcopy(load_base(model.part("base"), "cpu")).requires_grad_(False)
    latents = OwnLatents(base, (model.texture, "of this model"))
    x = torch.from_numpy(to_input(np.asarray(image)))
    coded = latents.code(x, torch.tensor([float(read_file(data).header.rate)]))
    assert torch.equal(coded.y, base.g_a(x)), "whatever its gains are"
    ratios = ratios_of(model.texture, coded.y, base.g_a(latents.decode(coded, None)))
    nearest = model.texture.distances(ratios[0], model.texture.bits).argmin(2)
    (held,) = OwnDecoder(read_file(data)).symbols().values()
    assert np.mean(nearest == held.tokens) > 0.9
    with torch.no_grad():
        base.log_ungain += 0.5
    assert torch.equal(latents.code(x, torch.tensor([20000.0])).y, base.g_a(x))


def test_training_looks_at_what_the_perception_anchor_shows(monkeypatch):
    monkeypatch.setattr("nicodec.painters.experts.NATURAL_LIMIT", 1e9)  # training holds nothing to the linear synthesis
    base = load_base(find_package("textured-tunes").parts["base"], "cpu").requires_grad_(False)
    random, (depth, code) = np.random.default_rng(2), (base.config.latent, 3)
    groups = np.arange(depth) % (code + 1) - 1
    texture = Texture(groups, CENTRES, USAGE, 1e-6, 2)
    y_hat, residual = (random.normal(0, 0.3, (2, depth, 8, 12)).astype(np.float32) for _ in range(2))
    said = random.normal(0, 0.4, (2, code, 4, 6)).astype(np.float32)
    files, taus = (9000, 50000), (0.6, 0.9)
    rates = [to_rates(TileRate(rate, 1, np.array([[2, -2, 0]] * 2, np.int16))) for rate in files]
    path = FloatPath.of(TorchNetworks("base", base, "cpu"), asdict(base.config))
    experts = Experts(path, texture=texture)
    led, textured = (random.uniform(0, 1, (2, n)).astype(np.float32) for n in (code + 1, code))
    shown = [
        experts.paint(Anchor.PERCEPTION, y[None], of[None], rate, more[None], (tau,), Strength(1, *each))[0]
        for y, of, rate, more, tau, *each in zip(y_hat, said, rates, residual, taus, led, textured, strict=True)
    ]
    tau = np.array(taus, np.float32)[:, None]
    with torch.no_grad():
        x_hat = base.g_s(torch.from_numpy(y_hat), torch.from_numpy(np.concatenate(rates)))
        found = anchored(
            base, texture, x_hat, torch.from_numpy(y_hat + residual), torch.from_numpy(told(said, 2)),
            *(torch.from_numpy(tau * share)[:, :, None, None] for share in (led, textured)),
        )  # fmt: skip
    assert (found - x_hat).abs().max() > 0.05
    assert np.abs(found.numpy() - np.concatenate(shown)).max() < 1e-3


@pytest.mark.parametrize(("size", "price"), [(0.02, 1.0), (1.0, 1.0), (1.0, -1.0)])
def test_tau_reaches_further_where_little_is_lost_and_too_much_has_a_price(size, price, trunk):
    torch.manual_seed(0)
    model = Model.named("textured")
    base = load_base(model.part("base"), "cpu").requires_grad_(False)
    latents, critic = OwnLatents(base, (model.texture, "of this model")), Critic(trunk)
    aux = Denoiser(FuserConfig(**latents.widths)).requires_grad_(False)
    stage = FuserStage(aux.config, latents, aux, critic)
    strengths = stage.module.strengths
    torch.nn.init.constant_(strengths.price, price)
    x = torch.from_numpy(to_input(np.asarray(pictures.grainy(64, 64)))).repeat(2, 1, 1, 1)
    coded, both, tau = latents.code(x, torch.tensor([9000.0, 40000.0])), torch.ones(2).bool(), torch.tensor([0.7, 1.0])
    residual = (size * coded.y.square().mean().sqrt() * torch.randn_like(coded.y)).requires_grad_()
    shown = show(stage.module, latents, coded, residual, 0 * latents.said(coded), tau, both)
    loss, figures = stage.priced(x, shown, coded, tau, both)
    loss.backward()
    too_much = figures["lost"] > LOST
    assert too_much == (size == 1), "of all at tau 1, and so at 0.7"
    assert (strengths.reach.grad.sum() > 0) == too_much
    assert (strengths.price.grad.sum() < 0) == too_much, "it rises"
    assert residual.grad.any() == strengths.led.grad.any() == (price > 0)


def test_a_tree_of_textures_tells_more_with_every_bit():
    rows = np.random.default_rng(2).normal(0, 1, (600, 3)).astype(np.float32)
    centres, usage = tree(rows, 5)
    assert usage.sum() == len(rows)
    book = Texture(GROUPS, centres, usage, 1e-6, 2)
    ratios = np.ascontiguousarray(rows.T[:, None])
    errors_ = [book.distances(ratios, depth).min(2).mean() for depth in range(6)]
    assert errors_ == sorted(errors_, reverse=True)
    assert errors_[5] < 0.25 * errors_[0]
