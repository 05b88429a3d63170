"""What stands on a base of two tunes, at toy length: every stage trains, becomes a part, and paints in both tunes."""

import copy
import json

import numpy as np
import pictures
import pytest
import torch
import toy
from PIL import Image

import nicodec
from nicodec.cli.models import export
from nicodec.cli.pooled import build_into
from nicodec.container.reader import read_file
from nicodec.engines import MAPPED, load_networks, onnx
from nicodec.entropy.tables import gaussian_tables
from nicodec.networks.base import BaseConfig
from nicodec.networks.functions import OF
from nicodec.networks.fuser import Denoiser, FuserConfig
from nicodec.networks.mode import MoDE
from nicodec.networks.vq import VQConfig, VQExpert
from nicodec.rate.scale import KNOTS, RATE_MAX, TUNE_SPACING
from nicodec.training import stages
from nicodec.training.data import Pictures
from nicodec.training.export import export_base, export_network
from nicodec.training.graphs import make_graph, write_graphs
from nicodec.training.latents import OwnLatents
from nicodec.training.loop import Run, Schedule
from nicodec.training.sq import SQCodec, file_rates, to_tensor
from nicodec.zoo.load import load_base, load_fuser, load_mode, load_prior
from nicodec.zoo.manifest import read_manifest

pytestmark = pytest.mark.xdist_group("training_on_tunes")

CPU = torch.device("cpu")
TOY = BaseConfig(
    latent=32, hyper=4, wide_8=16, wide_16=16, depth_8=0, depth_16=1, context=8, scale_context=8, tunes=2,
    lambda_max=0.64, eased=4.0,
)  # fmt: skip
SMALL_VQ = {"stride": 32, "bits": 4, "code": 4, "depth_16": 1, "depth_8": 0, "depth_4": 0}
MASK = np.tile(np.linspace(0, 255, 64, dtype=np.uint8), (8, 1))
EYE, PSNR = {"tune": "eye"}, {"tune": "psnr"}  # with a map, and without
FILES = {"eye": EYE, "psnr": PSNR, "psnr-map": {**PSNR, "roi": MASK}}


def toy_base(found):
    """A transform codec whose tunes differ in all that hears the rate."""
    torch.manual_seed(5)
    codec = SQCodec(TOY)
    codec.start_from_klt(found, 4)
    for name, parameter in codec.base.named_parameters():
        if len(parameter) == TOY.rows and not name.startswith("log_"):
            torch.nn.init.normal_(parameter, std=0.3)
    torch.nn.init.normal_(codec.base.g_s.head.weight, std=0.002)
    return codec.requires_grad_(False)


def far_from_the_base(part):
    """A fuser that some steps have hardly led off the base, led further."""
    fuser = copy.deepcopy(load_fuser(part, "cpu"))
    for layer in (fuser.hear, fuser.g_s.head):
        torch.nn.init.normal_(layer.weight, std=0.01)
    fuser.spread.fill_(1.0)
    return fuser


def train(recipe, folder, found):
    """Some steps of a stage, and its validation on one picture: returns that."""
    schedule = Schedule(steps=2, batch=2, crop=128, doublings=(), warmup=2)
    torch.manual_seed(1)
    held_out = copy.copy(found)
    held_out.pictures = [found.pictures[0][:, :128, :128]]
    job = Run(recipe.build("cpu"), schedule, folder, CPU, found, held_out, resume=False, init=None, quiet=True,
              frozen=recipe.frozen)  # fmt: skip
    job.train()
    return json.loads((folder / "validation.jsonl").read_text())


@pytest.fixture(scope="module")
def family(trunk, tmp_path_factory):
    """The package `family` with all parts, the fuser's graphs, and what each stage said of itself."""
    data = tmp_path_factory.mktemp("data")
    for index in range(toy.COUNT):
        Image.fromarray(toy.picture(index)).save(data / f"{index:02}.png")
    runs, package = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("models") / "family"
    found, said = Pictures([data], CPU, 128), {}
    export_base(toy_base(found), package, "a toy", (gaussian_tables(),) * 2)

    def make(name, recipe):
        said[name] = train(recipe(read_manifest(package / "model.toml")), runs / name, found)
        if name != "aux":
            options = {"steps": 20, "batch": 2, "side": 128} if name == "vq" else {}
            export(runs / name, package, "a toy", [data], **options)

    build_into(package, [data], 8)
    make("clc", lambda held: stages.clc(held, {"wide": 8}))
    make("vq", lambda held: stages.vq(held, [trunk], SMALL_VQ))
    make("aux", lambda held: stages.aux(held, [trunk], {}))
    make("fuser", lambda held: stages.fuser(held, [trunk], runs / "aux"))
    export_network("fuser", far_from_the_base(read_manifest(package / "model.toml").parts["fuser"]), package)
    make("mode", lambda held: stages.mode(held, [trunk]))
    write_graphs(package, ["fuser"])
    return package, said


@pytest.fixture
def parts(family, monkeypatch):
    """The package's, and no other is to be found."""
    monkeypatch.setenv("NICODEC_MODELS", str(family[0].parent))
    return read_manifest(family[0] / "model.toml").parts


def test_rates_are_drawn_as_files_have_them():
    torch.manual_seed(0)
    x = torch.zeros(64, 3, 192, 256)
    assert all(rate.tune == 0 and rate.levels is None for rate in file_rates(torch.rand(64), x, tunes=1))
    drawn = file_rates(torch.rand(64) * RATE_MAX, x, tunes=2)
    assert {rate.tune for rate in drawn} == {0, 1}
    assert {bool(rate.levels.any()) for rate in drawn} == {True, False}
    rates = to_tensor(drawn, x)
    assert rates.shape == (64, 3, 4)
    for rate, row in zip(drawn, rates, strict=True):
        assert row.min() >= rate.tune * TUNE_SPACING
        assert row.max() <= rate.tune * TUNE_SPACING + RATE_MAX


def test_every_stage_becomes_a_part_and_is_validated_in_both_tunes(family, parts):
    assert parts.keys() == {"base", "dictionary", "vq", "fuser", "mode"}
    said = family[1]
    assert [len(said[name]["plain"]) for name in ("aux", "fuser")] == [10, 10]
    assert (len(said["clc"]["on"]), len(said["mode"]["perception"])) == (8, 10)
    for name, row in (("clc", "off"), ("fuser", "plain"), ("mode", "base")):
        eye, psnr = np.split(np.array(said[name][row]), 2)
        assert np.isfinite(psnr).all()
        assert not np.allclose(eye, psnr)
    for layer in ("z", "embed", "hidden", "head"):
        assert len(load_prior(parts["vq"]).layers[layer].bias) == 2 * KNOTS


@pytest.mark.parametrize(("kind", "name", "mapped"), [
    ("fuser", "denoiser", False), ("fuser", "denoiser", True), ("mode", "painted", False), ("mode", "perception", True),
])  # fmt: skip
def test_graphs_do_in_each_tune_what_the_networks_do(parts, kind, name, mapped):
    random, part = np.random.default_rng(3), parts[kind]
    module = load_networks(part, "torch", "cpu").module
    function = OF[kind](module, mapped)[name]
    graph = part.graph(name + MAPPED * mapped) if part.graphs else make_graph(function, module)
    session = onnx.OnnxNetworks(part, onnx.read_weights(part))._start(graph)
    for tune in (0, 1):
        arrays = {}
        for given, held in function.inputs.items():
            arrays[given] = (0.3 * random.standard_normal(held.shape)).astype(np.float32)
            if given == "rate":
                arrays[given] = (random.uniform(0, RATE_MAX, held.shape) + tune * TUNE_SPACING).astype(np.float32)
            elif given in ("step", "t"):
                arrays[given] = np.abs(arrays[given]) + np.float32(0.1)
        expected = load_networks(part, "torch", "cpu")(name, *arrays.values())
        for found, other in zip(session.run(None, arrays), expected, strict=True):
            assert np.abs(found - other).max() <= 1e-4 * max(1, np.abs(other).max())


@pytest.mark.parametrize("options", FILES.values(), ids=FILES.keys())
def test_files_of_each_tune_are_led_by_tau_at_both_anchors(parts, options):
    data = nicodec.encode(pictures.image(200, 150), model="family", quality=40, device="cpu", drawn="off", **options)
    for anchor in ("fidelity", "perception"):
        plain, led, other = (
            np.asarray(nicodec.decode(data, device="cpu", anchor=anchor, **how)).astype(int)
            for how in ({}, {"tau": 1.0}, {"tau": 1.0, "engine": "torch"})
        )
        assert np.abs(led - plain).mean() > 0.1
        assert np.abs(led - other).max() <= 1


def test_a_crop_of_a_mapped_file_is_led_as_the_whole_is(parts):
    data = nicodec.encode(pictures.image(1100, 200), model="family", quality=30, device="cpu", drawn="off", **EYE)
    assert read_file(data).header.mapped
    whole = np.asarray(nicodec.decode(data, device="cpu", tau=1.0)).astype(int)
    part = np.asarray(nicodec.decode(data, device="cpu", tau=1.0, crop=(1000, 70, 60, 50))).astype(int)
    assert np.abs(part - whole[70:120, 1000:1060]).max() <= 1


def test_what_starts_as_the_base_does_so_in_each_tune_and_under_a_map(parts):
    base = load_base(parts["base"], "cpu")
    torch.manual_seed(2)
    y_hat, levels = 0.3 * torch.randn(1, TOY.latent, 8, 12), torch.randint(0, RATE_MAX, (1, 2, 3)).float()
    vq = VQExpert(VQConfig.beside(TOY, **SMALL_VQ))
    mode, fuser = MoDE.between(base, vq), Denoiser(FuserConfig(**OwnLatents(base).widths))
    fuser.start_from(base)
    code = torch.randn(1, 4, 4, 6)
    pictures_ = []
    with torch.no_grad():
        for rate in (levels[:, 0, 0], levels, levels[:, 0, 0] + TUNE_SPACING, levels + TUNE_SPACING):
            plain = base.g_s(y_hat, rate)
            pictures_.append(plain)
            assert torch.allclose(mode.decode_fidelity(vq.painter, y_hat, code, rate), plain, atol=1e-5)
            assert torch.allclose(mode.decode_perception(y_hat, code, rate)[0], plain, atol=1e-5)
            assert torch.equal(fuser.g_s(y_hat, rate), plain)
    assert not torch.allclose(pictures_[0], pictures_[2], atol=1e-3)
    assert not torch.allclose(pictures_[0], pictures_[1], atol=1e-3)


def test_parts_say_of_which_kind_their_base_is(parts):
    fuser, mode = load_fuser(parts["fuser"], "cpu"), load_mode(parts["mode"], "cpu")
    assert (fuser.config.tunes, fuser.config.eased) == (2, 4.0)
    assert len(fuser.g_s.coarse_rate.log_scale) == len(mode.fidelity.cross[0].rate.log_scale) == 2 * KNOTS
