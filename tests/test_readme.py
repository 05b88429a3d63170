"""What the README says is what the program does."""

import re
import subprocess
import sys
from pathlib import Path

from nicodec.options import DEFAULT_MODEL

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_shipped_model_is_whole_and_does_the_readmes_job(tmp_path):
    from nicodec.zoo.manifest import read_manifest

    package = read_manifest(ROOT / "models" / DEFAULT_MODEL / "model.toml")
    for part in package.parts.values():
        part.read()
    lines = re.search(r"<!-- use -->\n```sh\n(.*?)```", README, re.S)[1]
    calls = re.findall(r"\.venv/bin/nicodec (.*?)(?: &&|$)", lines, re.M)
    assert len(calls) == 3
    for call in calls:
        words = [str(ROOT / word) if word.startswith("examples/") else word for word in call.split()]
        environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
        subprocess.run([sys.executable, "-m", "nicodec", *words], check=True, cwd=tmp_path, env=environment)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() == {"scene.nic", "scene.png"}
    assert sizes["scene.nic"] < (ROOT / "examples" / "scene.png").stat().st_size / 3


def test_links_of_all_pages_lead_somewhere():
    pages = [path for path in ROOT.rglob("*.md") if not {".venv", ".pytest_cache"} & set(path.parts)]
    links = [(page, link) for page in pages for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())]
    assert len(pages) > 8
    assert len(links) > 20
    assert [(str(page), link) for page, link in links if not (page.parent / link).exists()] == []


def test_weights_stay_small():
    assert sum(path.stat().st_size for path in (ROOT / "models").rglob("*") if path.is_file()) < 45_000_000
