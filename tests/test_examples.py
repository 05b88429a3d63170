"""Each script in examples/ runs as its first line says, with the shipped model."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pictures
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SCRIPTS = {"one_picture.sh", "fit.sh", "folder.sh", "taus.sh", "pillow_plugin.py", "bits.py", "render_scene.py"}


@pytest.fixture(autouse=True)
def shipped(monkeypatch):
    monkeypatch.delenv("NICODEC_MODELS")


@pytest.fixture
def piece(tmp_path):
    """A piece of the scene, for scripts to which its size does not matter."""
    (tmp_path / "photos/sub").mkdir(parents=True)
    part = Image.open(EXAMPLES / "scene.png").crop((450, 180, 642, 308))
    for name in ("photos/a.png", "photos/sub/b.png"):
        part.save(tmp_path / name)
    return "photos/a.png"


def made(folder):
    return {path.name for path in folder.iterdir()} - {"bin", "photos"}


@pytest.mark.parametrize(("script", "expected"), [
    ("one_picture.sh", {"a.nic", "a-decoded.png"}),
    ("taus.sh", {"a.nic", *(f"a-{anchor}-{tau}.png" for anchor in ("fidelity", "perception")
                            for tau in ("0", "0.5", "1"))}),
])  # fmt: skip
def test_scripts_for_one_picture(tmp_path, shell, piece, script, expected):
    shell("sh", EXAMPLES / script, piece)
    assert made(tmp_path) == expected
    pixels = {path.name.replace("perception-0.png", "fidelity-0.png"): Image.open(path).tobytes()
              for path in sorted(tmp_path.glob("*.png"))}  # fmt: skip
    assert len(set(pixels.values())) == len(pixels), "but for both anchors at tau 0, no picture is as another"


def test_the_script_that_fits(tmp_path, shell):
    pictures.image(800, 500).save(tmp_path / "busy.png")
    shell("sh", EXAMPLES / "fit.sh", "busy.png")
    assert 97_000 < (tmp_path / "busy.nic").stat().st_size <= 100_000


def test_the_script_for_a_folder(tmp_path, shell, piece):
    first, second = (shell("sh", EXAMPLES / "folder.sh", "photos", "coded") for _ in range(2))
    assert "coded" in first
    assert "coded" in second
    found = {str(path.relative_to(tmp_path / "coded")) for path in (tmp_path / "coded").rglob("*.nic")}
    assert found == {"photos/a.nic", "photos/sub/b.nic"}


@pytest.mark.parametrize(("script", "expected"), [
    ("pillow_plugin.py", {"a.nic", "a-half.png"}), ("bits.py", set()), ("render_scene.py", {"scene.png"}),
])  # fmt: skip
def test_scripts_in_python(tmp_path, monkeypatch, capsys, piece, script, expected):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [script, "scene.png" if script == "render_scene.py" else piece])
    runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    assert made(tmp_path) == expected
    said = capsys.readouterr().out
    if script == "pillow_plugin.py":
        assert "192x128 RGB" in said
        assert Image.open(tmp_path / "a-half.png").size == (96, 64)
    elif script == "bits.py":
        sizes = [int(line.split()[2]) for line in said.splitlines()]
        assert len(sizes) == 5
        assert sizes == sorted(sizes)
    else:
        again, there = (np.asarray(Image.open(folder / "scene.png")).astype(int) for folder in (tmp_path, EXAMPLES))
        assert np.abs(again - there).mean() < 0.5


def test_every_script_is_tested():
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix in (".sh", ".py")} == SCRIPTS
