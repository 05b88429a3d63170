"""Each script in examples/ runs as its first line says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path.name for path in (ROOT / "examples").iterdir() if path.suffix in (".sh", ".py"))


def run(tmp_path, *words):
    """A call in an empty folder, with `nicodec` on the PATH and the shipped model."""
    command = tmp_path / "bin" / "nicodec"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nicodec "$@"\n')
    command.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("NICODEC_MODELS")
    finished = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize(("script", "written"), [
    ("one_picture.sh", {"scene.nic", "scene-decoded.png"}), ("fit.sh", {"scene.nic"}),
    ("pillow_plugin.py", {"scene.nic", "scene-half.png"}), ("bits.py", set()),
    ("taus.sh", {"scene.nic", *(f"scene-{anchor}-{tau}.png" for anchor in ("fidelity", "perception")
                                for tau in ("0", "0.5", "1"))}),
])  # fmt: skip
def test_scripts_for_one_picture(tmp_path, script, written):
    runner = "sh" if script.endswith(".sh") else sys.executable
    run(tmp_path, runner, str(ROOT / "examples" / script), str(ROOT / "examples" / "scene.png"))
    assert {path.name for path in tmp_path.iterdir()} == written | {"bin"}
    assert not (tmp_path / "scene.nic").exists() or (tmp_path / "scene.nic").stat().st_size <= 100_000


def test_the_script_for_a_folder(tmp_path):
    for name in ("photos/a.png", "photos/sub/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "examples" / "scene.png", tmp_path / name)
    for _ in range(2):
        out = run(tmp_path, "sh", str(ROOT / "examples" / "folder.sh"), "photos", "coded")
    assert "coded" in out
    found = {str(path.relative_to(tmp_path / "coded")) for path in (tmp_path / "coded").rglob("*.nic")}
    assert found == {"photos/a.nic", "photos/sub/b.nic"}


def test_every_script_is_tested():
    tested = {"taus.sh", "one_picture.sh", "fit.sh", "pillow_plugin.py", "bits.py", "folder.sh"}
    assert tested | {"render_scene.py"} == set(SCRIPTS)
