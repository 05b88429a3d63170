"""A second device that needs no hardware: its tensors lie in the CPU's memory, and meet the CPU's own as a GPU's would.

    with second_device():
        torch.ones(3, device=NAME) + torch.ones(3)  # RuntimeError: two devices

Run as a program, it takes one step of every stage there: `python tests/second_device.py FOLDER_OF_PICTURES`.
"""

import sys
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

from nicodec.latents.texture import Texture
from nicodec.networks.base import BaseConfig
from nicodec.networks.clc import CLCConfig
from nicodec.networks.fuser import FuserConfig
from nicodec.networks.restorer import RestorerConfig
from nicodec.networks.trust import TrustConfig
from nicodec.networks.vq import VQConfig
from nicodec.training.clc import CLCStage
from nicodec.training.critic import Critic
from nicodec.training.data import Pictures
from nicodec.training.fuser import AuxStage, FuserStage
from nicodec.training.latents import OwnLatents
from nicodec.training.loop import Run, Schedule
from nicodec.training.mode import MoDEStage
from nicodec.training.restorer import RestorerStage
from nicodec.training.sq import SQStage
from nicodec.training.texture import groups_of
from nicodec.training.trust import TrustStage
from nicodec.training.vq import VQStage
from nicodec.zoo.load import load_base, load_dictionary, load_fuser, load_scales, load_vq
from nicodec.zoo.store import find_package

NAME = "second"
CROP = 64
TOY = BaseConfig(latent=16, hyper=4, wide_8=8, wide_16=8, depth_8=1, depth_16=1, context=8, scale_context=8)
aten = torch.ops.aten
MIXED = {aten.copy_.default, aten._to_copy.default}  # what moves tensors between devices
INDEXED = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}


class Backend(_DummyBackendModule):
    def get_amp_supported_dtype(self):
        return [torch.bfloat16, torch.float16]


class Far(torch.Tensor):
    """A tensor of the second device; `held` is where it really lies."""

    @staticmethod
    def __new__(cls, held):
        with torch.inference_mode(False):  # a view of what was made outside of it is no inference tensor either
            far = torch.Tensor._make_wrapper_subclass(
                cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
                device=torch.device(NAME, 0), requires_grad=False,
            )  # fmt: skip
        far.held = held
        return far

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})

    def __deepcopy__(self, memo):
        copied = Far(self.held.clone())
        copied = torch.nn.Parameter(copied, self.requires_grad) if isinstance(self, torch.nn.Parameter) else copied
        return memo.setdefault(id(self), copied)


class Literals(TorchFunctionMode):
    """`torch.tensor`, and lists as indices, go round what `Factories` sees: make them on the CPU, and move them."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        device = kwargs.pop("device", None) if func is torch.tensor else None
        if func is torch.Tensor.__getitem__ and isinstance(args[1], tuple):
            args = (
                args[0],
                tuple(torch.tensor(at).to(args[0].device) if isinstance(at, list | tuple) else at for at in args[1]),
            )
        made = func(*args, **kwargs)
        return made if device is None else made.to(device)


class Factories(TorchDispatchMode):
    """Makes whole what is asked for on the device: some factories would make a tensor of no size, and resize that."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


def run(func, args, kwargs):
    """One operation on the real memory; refused where a GPU would refuse its operands."""
    tensors = []
    each(torch.Tensor, tensors.append, (args, kwargs))
    far = [tensor for tensor in tensors if isinstance(tensor, Far)]
    near = [tensor for tensor in tensors if not isinstance(tensor, Far) and tensor.ndim > 0]
    if func in INDEXED:  # a CPU's index may point into another device's tensor
        near = [tensor for tensor in near if tensor is args[0] or (len(args) > 2 and tensor is args[2])]
    if far and near and func not in MIXED:
        raise RuntimeError(f"{func} found tensors on two devices, {NAME} and cpu")
    there = torch.device(kwargs["device"]).type == NAME if kwargs.get("device") is not None else bool(far)
    if func is aten.copy_.default:
        there = isinstance(args[0], Far)
    if kwargs.get("device") is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    known = {id(tensor.held): tensor for tensor in far}
    out = func(*each(Far, lambda tensor: tensor.held, args), **each(Far, lambda tensor: tensor.held, kwargs))
    if not there or func is aten._local_scalar_dense.default:
        return out
    return each(torch.Tensor, lambda tensor: known.get(id(tensor)) if id(tensor) in known else Far(tensor), out)


def each(kind, change, held):
    """What an operation takes or gives, with all of a kind in it changed; torch's own way takes twice as long."""
    if isinstance(held, kind):
        return change(held)
    if isinstance(held, tuple | list):
        return type(held)([each(kind, change, one) for one in held])
    return {name: each(kind, change, one) for name, one in held.items()} if isinstance(held, dict) else held


def steps(stage, pictures, count=1):
    """Start, some training steps with both optimizers, a checkpoint, and validation."""
    with tempfile.TemporaryDirectory() as folder:
        schedule = Schedule(steps=count, batch=2, crop=CROP, warmup=1, doublings=())
        job = Run(stage, schedule, Path(folder), torch.device(NAME), pictures, pictures,
                  resume=False, init=None, quiet=True)  # fmt: skip
        weights = list(job.stage.module.parameters())
        assert all(isinstance(weight, Far) for weight in weights)
        before = [weight.detach().cpu().clone() for weight in weights]
        for _ in range(count):
            job._one_step()
        assert any(not torch.equal(one, other.detach().cpu()) for one, other in zip(before, weights, strict=True))
        stage.validate(job.ema, pictures)
    print(f"{stage.name}: done", flush=True)


@contextmanager
def second_device():
    """The device is there, and its tensors are `Far`, wherever they come from."""
    _setup_privateuseone_for_python_backend(rename=NAME, backend_module=Backend())
    library = torch.library.Library("_", "IMPL")
    library.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")  # autocast leaves all in float32
    with Literals(), Factories():
        yield


def main(folder):
    with second_device():
        try:
            torch.ones(3, device=NAME) + torch.ones(3)
        except RuntimeError:
            print("two devices: refused", flush=True)
        for stage, count in stages(Path(folder)):
            steps(stage, Pictures([Path(folder)], torch.device(NAME), CROP), count)


def stages(folder):
    """Each stage on frozen parts of the golden models, and how many steps lead through all its branches."""
    sq = SQStage(TOY)
    sq.start = partial(sq.module.start_from_klt, batches=4)
    yield sq, 1
    parts = find_package("tiny-full").parts
    base, critic = load_base(parts["base"], NAME), Critic(folder / "trunk.pth").to(NAME)
    yield VQStage(VQConfig.beside(base.config, stride=32, bits=4, code=4), base, critic), 1
    yield MoDEStage(base, load_vq(parts["vq"], NAME), critic, load_fuser(parts["fuser"], NAME)), 8
    groups = groups_of(base.std.cpu().numpy(), 4)
    centres = np.zeros((4, groups.max() + 1), np.float32)
    latents = OwnLatents(base, (Texture(groups, centres, np.ones(4, np.float32), 1e-5, 2), "of no part"))
    config = FuserConfig(**latents.widths)
    aux = AuxStage(config, latents, critic)
    yield aux, 1
    yield FuserStage(config, latents, aux.module.requires_grad_(False).eval(), critic), 2
    yield RestorerStage(RestorerConfig.on(base.config, depth_16=1, depth_8=2), base, critic), 1
    yield TrustStage(TrustConfig.on(base.config, width=8), base), 1
    referring = find_package("tiny-references").parts
    base, scales = load_base(referring["base"], NAME), load_scales(referring["base"])
    yield CLCStage(CLCConfig(wide=8, latent=2), base, scales, load_dictionary(referring["dictionary"])), 1


if __name__ == "__main__":
    main(*sys.argv[1:])
