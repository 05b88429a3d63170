"""Random weights for all that stands on a base, on the tiny one: so that streams, anchors and tau can be tested."""

import json
import shutil

import numpy as np
import pictures
import safetensors.numpy
import torch

from nicodec.dictionary.build import build
from nicodec.entropy.tables import gaussian_tables
from nicodec.latents.texture import Texture
from nicodec.networks.clc import CLC, CLCConfig
from nicodec.networks.fuser import Denoiser, FuserConfig
from nicodec.networks.mode import MoDE
from nicodec.networks.restorer import Restorer, RestorerConfig
from nicodec.networks.vq import VQConfig, VQExpert
from nicodec.rate.scale import KNOTS
from nicodec.training.export import (
    export_dictionary,
    export_network,
    export_texture,
    export_vq,
)
from nicodec.training.graphs import write_graphs
from nicodec.training.latents import OwnLatents
from nicodec.training.scales import LOG_STEP
from nicodec.training.texture import groups_of
from nicodec.training.tokens import TokenNet, integer_prior
from nicodec.zoo.load import load_base, load_scales, load_texture
from nicodec.zoo.manifest import read_manifest, write_manifest
from nicodec.zoo.stored import EXACT, read_config

COUNT, SIDE = 16, 256  # pictures that a toy dictionary is built of
CODED = {"device": "cpu", "drawn": "off"}  # toy networks cost so many bits that a drawing would take fewer
COARSER = 0.5  # log-steps of the last channel in tune `eye` of a toy base, beyond those in `psnr`


def renamed(tiny, target):
    """A copy of the tiny frozen model as the package `target`, with that name: the path."""
    shutil.copytree(tiny.path.parent, target)
    manifest = target / "model.toml"
    manifest.write_text(manifest.read_text().replace('name = "tiny"', f'name = "{target.name}"'))
    return target


def make_model(folder, name, tiny, *, stride, spread=0.005):
    """A package `name` in `folder` with all parts; its base is the tiny frozen one.

    `spread`: of MoDE's random weights: from 0.01 on encoders find that tokens do harm, from 0.02 on decoders too.
    """
    target = renamed(tiny, folder / name)
    package = read_manifest(target / "model.toml")
    torch.manual_seed(stride)
    base = load_base(tiny, "cpu")
    config = VQConfig.beside(base.config, stride=stride, bits=6, code=8, depth_16=1, depth_8=1, depth_4=1)
    vq = VQExpert(config)
    mode = MoDE.between(base, vq)
    vq.tokenizer.start_from(base.std, base.std.argsort(descending=True)[:8])
    for module in (vq.painter, mode.fidelity, mode.perception, mode.painter):
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.02 if module is vq.painter else spread)
    net = TokenNet(base.config, stride // 16, 6, 16)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    prior = integer_prior(net.requires_grad_(False), torch.linspace(-2, 2, 63), load_scales(tiny).magnitude)
    export_vq(vq, prior, target)
    export_network("mode", mode, target)
    add_fuser(target, base)
    return package


def add_fuser(folder, base, texture=None):
    """Give the package in `folder` a fuser that changes its pictures at random, and hears a texture part's tokens."""
    known = (load_texture(texture), texture.id.hex()) if texture else None
    latents = OwnLatents(base, known)
    fuser = Denoiser(FuserConfig(**latents.widths, **latents.heard, anchored=texture is not None))
    fuser.start_from(base)
    for table in fuser.strengths.parameters() if texture else ():
        torch.nn.init.uniform_(table, 0.2, 1.0)
    for layer in (fuser.hear, fuser.g_s.head, *((fuser.coarse_said.tell, fuser.fine_said.tell) if texture else ())):
        torch.nn.init.normal_(layer.weight, std=0.2 if layer is not fuser.hear and texture else 0.02)
    export_network("fuser", fuser, folder)


def add_texture(folder, base, magnitude):
    """Give the package in `folder` a texture part: 8 random textures, and a random prior."""
    random = np.random.default_rng(4)
    groups = groups_of(base.std.numpy(), 4)
    centres = random.normal(0.3, 0.5, (8, groups.max() + 1)).astype(np.float32)
    net = TokenNet(base.config, 2, 3, 16, signed=False)
    torch.manual_seed(4)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    prior = integer_prior(net.requires_grad_(False), torch.linspace(-1, 1, 7), magnitude)
    export_texture(Texture(groups, centres, np.ones(8, np.float32), 1e-5, 2), prior, folder)


def add_restorer(folder, tiny):
    """A copy of the tiny frozen model in `folder`, and a restorer of random weights on its base, with graphs."""
    shutil.copytree(tiny.path.parent, folder / "tiny")
    base = load_base(tiny, "cpu")
    torch.manual_seed(0)
    restorer = Restorer(RestorerConfig.on(base.config, depth_16=1, depth_8=2))
    restorer.start_from(base)
    for layer in (restorer.hear, restorer.coarse_told.told, restorer.fine_told.told, restorer.head):
        torch.nn.init.normal_(layer.weight, std=0.05)
    export_network("restorer", restorer, folder / "tiny")
    write_graphs(folder / "tiny", ["restorer"])


def make_two_tunes(folder, name, tiny):
    """A package `name` in `folder` whose base has two tunes: `psnr` is the tiny frozen base, `eye` is coarser."""
    random, config = np.random.RandomState(0), read_config(tiny)
    arrays = safetensors.numpy.load(tiny.path.read_bytes())
    coarser = np.linspace(0, COARSER, config["latent"], dtype=np.float32)
    for key, array in arrays.items():
        if len(array) == KNOTS and array.ndim == 2:  # a table over the rate
            eye = array if key.startswith(EXACT) else array + 0.1 * random.randn(1, array.shape[1]).astype(np.float32)
            if key in ("log_gain", "log_ungain"):
                eye = array - coarser if key == "log_gain" else array + coarser
            elif key.endswith("head.bias"):  # scale indices, which fall with the gain
                share = np.split(coarser, config["slices"])[int(key.split(".")[1]) // 2] / LOG_STEP
                eye = array - np.round(np.ldexp(share, arrays[key.replace("bias", "shift")])).astype(np.int64)
            arrays[key] = np.concatenate([eye, array])
    tables = gaussian_tables()
    for key, values in (("limits", tables.limits), ("counts", tables.counts)):
        key = f"{EXACT}tables.{key}"
        arrays[key] = np.concatenate([values.astype(np.int32), arrays[key]])
    target = folder / name
    target.mkdir()
    metadata = {"config": json.dumps({**config, "tunes": 2})}
    (target / "base.safetensors").write_bytes(safetensors.numpy.save(arrays, metadata))
    write_manifest(target, name, "tiny frozen model of two tunes, of the golden files; not for pictures",
                   {"base": "base.safetensors"})  # fmt: skip


def picture(index):
    """Unlike its neighbours: a scene, brighter or darker, with more or less noise."""
    random = np.random.default_rng(index)
    noise = random.normal(0, 2 * index, (SIDE, SIDE, 3))
    return (pictures.scene(SIDE, SIDE) * random.uniform(0.3, 1, 3) + noise).clip(0, 255).astype(np.uint8)


def add_dictionary(folder, base):
    """Give the package in `folder` a dictionary of 12 references that change its base at random."""
    torch.manual_seed(3)
    clc = CLC(CLCConfig(wide=8, latent=2), base)
    for name, parameter in clc.named_parameters():
        torch.nn.init.normal_(parameter, std=0.01 if name.startswith("change") else 1.0)
    export_dictionary(build(base, map(picture, range(COUNT)), 12), folder, clc)
