"""What the README says is what the program does."""

import re
import subprocess
import sys
from pathlib import Path

import click

from nicodec import errors
from nicodec.cli.main import COMMANDS, LazyGroup
from nicodec.options import DEFAULT_MODEL, DEFAULT_QUALITY

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def command(name):
    return LazyGroup().get_command(click.Context(click.Command("nicodec")), name)


def test_exit_codes():
    rows = dict(re.findall(r"^\| (\d+) \| (\w+) \|", README, re.M))
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.NicodecError)]
    assert {int(code): name for code, name in rows.items()} == {c.exit_code: c.__name__ for c in classes}


def test_every_option_of_a_command_stands_in_the_table_and_has_help():
    rows = re.findall(r"^\| `(-.*?)` \| ([a-z, ]+) \|", README, re.M)
    documented = {(name, option) for options, names in rows for option in re.findall(r"-[-\w]+", options)
                  for name in names.split(", ")}  # fmt: skip
    real = set()
    for name in ("encode", "decode", "info", "verify"):
        for option in command(name).params:
            if isinstance(option, click.Option):
                assert option.help, f"{name} {option.name}"
                real |= {(name, spelling) for spelling in [*option.opts, *option.secondary_opts]}
    assert documented == real


def test_defaults():
    assert f"| encode | 0..100, {DEFAULT_QUALITY:g} |" in README
    assert f"| encode | `{DEFAULT_MODEL}` |" in README


def test_every_command_is_shown():
    for name in COMMANDS:
        assert f"nicodec {name}" in README
        assert command(name).help


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


def test_weights_stay_small():
    assert sum(path.stat().st_size for path in (ROOT / "models").rglob("*") if path.is_file()) < 40_000_000
