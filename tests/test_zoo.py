"""Model packages: their manifests, where they are looked for, and what a broken one does to its neighbours: nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pictures
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import nicodec as package
from nicodec import errors
from nicodec.codec import verify_bytes
from nicodec.conformance.golden import golden_folder
from nicodec.training.export import write_part
from nicodec.zoo.manifest import read_manifest, write_manifest
from nicodec.zoo.store import find_package, find_part, packages
from nicodec.zoo.stored import SCALE, read_config, read_weights

ROOT = Path(__file__).parents[1]
NIC = golden_folder() / "rgb-96x80-q50.nic"
BROKEN = {
    "no-toml": b'name = "a"quoted"',
    "no-text": b"\xff\xfe",
    "no-parts": b'name = "a"\nsummary = "b"\n',
    "no-base": b'name = "a"\nsummary = "b"\n[parts]\n',
    "a-number-for-a-name": b'name = 5\nsummary = "b"\n[parts.base]\nfile = "base.safetensors"\nid = "00"\n',
    "an-id-that-is-none": b'name = "a"\nsummary = "b"\n[parts.base]\nfile = "base.safetensors"\nid = "xyz"\n',
    "nested": b"a = " + b"[" * 100_000,
}


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_any_summary_survives(tmp_path_factory, summary):
    folder = tmp_path_factory.mktemp("model")
    (folder / "base.safetensors").write_bytes(b"weights")
    (folder / "vq.safetensors").write_bytes(b"more")
    write_manifest(folder, 'a "name"', summary, {"base": "base.safetensors", "vq": "vq.safetensors"})
    read = read_manifest(folder / "model.toml")
    assert (read.name, read.summary) == ('a "name"', summary)
    assert read.parts["vq"].trained_on == {read.parts["base"].id}


def test_a_summary_of_bytes_that_are_no_text_is_readable(tmp_path):
    (tmp_path / "base.safetensors").write_bytes(b"weights")
    write_manifest(tmp_path, "a", os.fsdecode(b"caf\xe9"), {"base": "base.safetensors"})
    assert read_manifest(tmp_path / "model.toml").summary == "caf?"


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_manifest_stops_no_file_that_does_not_need_it(content, tiny, tmp_path, monkeypatch):
    (tmp_path / "a-broken").mkdir()
    (tmp_path / "a-broken" / "model.toml").write_bytes(content)
    shutil.copytree(tiny.path.parent, tmp_path / "tiny")
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path))
    assert verify_bytes(NIC.read_bytes()).symbols > 0
    assert find_package("tiny").parts["base"].id == tiny.id
    broken = []
    assert "tiny" in [found.name for found in packages(broken)]
    assert len(broken) == 1
    assert str(tmp_path / "a-broken") in broken[0]
    for find in (lambda: find_part("base", b"\7" * 8), lambda: find_package("nobody")):
        with pytest.raises(errors.DamagedPartError, match="a-broken") as refusal:
            find()
        assert "\n" not in str(refusal.value)
        assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize("how", ["missing", "altered"])
@pytest.mark.parametrize("folder", ["tiny", "another"])
def test_a_whole_copy_of_a_part_is_found_beside_a_broken_one(how, folder, tiny, tmp_path, monkeypatch):
    """In a package of another name, and in one of the same name further on the search path."""
    shutil.copytree(tiny.path.parent, tmp_path / "first" / "tiny")
    spoiled = tmp_path / "first" / "tiny" / "base.safetensors"
    spoiled.unlink() if how == "missing" else spoiled.write_bytes(b"no weights")
    shutil.copytree(tiny.path.parent, tmp_path / "second" / folder)
    monkeypatch.setenv("NICODEC_MODELS", f"{tmp_path / 'first'}{os.pathsep}{tmp_path / 'second'}")
    assert find_part("base", tiny.id).path.is_relative_to(tmp_path / "second")
    assert package.decode(NIC, device="cpu").size == (96, 80)


def test_the_list_says_what_is_broken(inside, tmp_path, monkeypatch):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.toml").write_bytes(b"name")
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path))
    code, out, err = inside("models", "list")
    assert (code, b"base1" in out) == (0, True)
    assert err.startswith("nicodec: warning: ")
    assert str(tmp_path / "broken" / "model.toml") in err


def test_other_peoples_models_in_site_packages_are_not_ours(tmp_path, tiny):
    """An installed package, as pip lays it out, beside a folder `models` that some other package left there."""
    site = tmp_path / "site-packages"
    shutil.copytree(ROOT / "nicodec", site / "nicodec", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(tiny.path.parent, site / "nicodec" / "models" / "tiny")
    (site / "models" / "theirs").mkdir(parents=True)
    (site / "models" / "theirs" / "model.toml").write_text("of another kind")
    (site / "pyproject.toml").write_text("also left there")
    script = "from nicodec.zoo.store import packages, search_path; b = []; print([p.name for p in packages(b)], b)"
    environment = {"PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, cwd=tmp_path, check=True, text=True,
                          capture_output=True)  # fmt: skip
    assert done.stdout.strip() == "['tiny'] []"


def test_weights_of_another_size_are_said_in_a_line(tiny, tmp_path, monkeypatch):
    """torch lists every weight that does not fit: tens of kilobytes."""
    shutil.copytree(tiny.path.parent, tmp_path / "tiny")
    path = tmp_path / "tiny" / "base.safetensors"
    tensors = load_file(path)
    config = read_config(tiny)
    save_file(tensors, path, metadata={"config": json.dumps({**config, "wide_8": 8 * config["wide_8"]})})
    write_manifest(tmp_path / "tiny", "wide", "", {"base": "base.safetensors"})
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path))
    with pytest.raises(errors.DamagedPartError, match="not a base part") as refusal:
        package.encode(pictures.image(8, 8), model="wide", device="cpu", drawn="off")
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize("kind", ["base", "vq", "mode", "fuser"])
def test_parts_that_only_paint_hold_bytes_and_all_others_hold_more(kind, toy_folder):
    stored = load_file(read_manifest(toy_folder / "toy16" / "model.toml").parts[kind].path)
    floats = {name: array for name, array in stored.items() if array.ndim == 4 and not name.endswith(SCALE)}
    in_bytes = {name for name, array in floats.items() if array.dtype == torch.int8}
    assert in_bytes == ({name for name in floats if "klt" not in name} if kind in ("mode", "fuser") else set())


def test_weights_in_bytes_are_as_close_as_127_steps_are(tmp_path):
    torch.manual_seed(0)
    trained = torch.nn.ModuleDict({"klt": torch.nn.Conv2d(8, 4, 1, bias=False), "mix": torch.nn.Conv2d(4, 6, 3)})
    torch.nn.init.zeros_(trained["mix"].weight[2])
    (tmp_path / "base.safetensors").write_bytes(b"weights")
    write_part(tmp_path, "fuser", trained, {}, {})
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1, "whoever may read other files may read weights"
    write_manifest(tmp_path, "a", "b", {"base": "base.safetensors", "fuser": "fuser.safetensors"})
    found = read_weights(read_manifest(tmp_path / "model.toml").parts["fuser"])
    assert sorted(found) == ["klt.weight", "mix.bias", "mix.weight"]
    assert len(found) == 3
    for name, weight in trained.state_dict().items():
        step = weight.abs().amax((1, 2, 3), keepdim=True) / 127 if name == "mix.weight" else weight.abs() * 2**-10
        assert (np.abs(found[name] - weight.numpy()) <= 0.51 * step.numpy()).all()
