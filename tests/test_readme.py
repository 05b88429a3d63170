"""What the README says is what the program does."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from nicodec import errors
from nicodec.cli.main import COMMANDS, LazyGroup
from nicodec.options import DEFAULT_MODEL, DEFAULT_QUALITY

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTED = ("encode", "decode", "info", "verify", "view", "compare")


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
    for name in DOCUMENTED:
        for option in command(name).params:
            if isinstance(option, click.Option):
                assert option.help, f"{name} {option.name}"
                real |= {(name, spelling) for spelling in [*option.opts, *option.secondary_opts]}
    assert documented == real


def options():
    """Each row of the table for each command: the option, what the row says of range and default, and its help."""
    for spellings, names, said in re.findall(r"^\| (`-.*?`) \| ([a-z, ]+) \|(.*?)\|", README, re.M):
        for name in names.split(", "):
            this = command(name)
            context = click.Context(this)
            (found,) = [o for o in this.params if spellings.strip("`").split("`")[0] in [*o.opts, *o.secondary_opts]]
            yield pytest.param(found, said.strip(), " ".join(found.get_help_record(context)), id=f"{name} {spellings}")


@pytest.mark.parametrize(("option", "said", "help_text"), list(options()))
def test_help_says_what_the_readme_says_of_range_and_default(option, said, help_text):
    *choices, default = re.split(r"; ", said) if said.startswith("`") and ";" in said else [said]
    for choice in re.findall(r"`(.+?)`", " ".join(choices)):
        assert choice in help_text
    if spanned := re.match(r"([\d.]+?)\.\.([^\s,]*)(?:[^,]*, )?", default):
        low, high = spanned.groups()
        assert re.search(rf"(?<!\d){low}( \(.*?\))? ?\.\. ?{re.escape(high)}", help_text), "both ends, as the README"
        default = default[spanned.end() :]
    default = default.strip("`")
    if default in ("on", "off"):
        assert option.is_flag
        assert (option.get_default(click.Context(click.Command("nicodec"))) is True) == (default == "on")
    elif default:
        stated = re.search(r"\[default: (.*?)(;.*)?\]", help_text)
        assert default == stated[1].removesuffix(".0") if stated else default in help_text


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
