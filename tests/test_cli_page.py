"""CLI.md is made of the commands' own help and of the errors; and that help says what one must know."""

import click
import make_cli_page
import pytest

from nicodec import errors
from nicodec.cli.main import COMMANDS
from nicodec.options import DEFAULT_MODEL

PAGE = make_cli_page.PAGE.read_text(encoding="utf-8")
FOUND = dict(make_cli_page.commands())
OPTIONS = [
    pytest.param(command, option, id=f"{name} {option.opts[0]}")
    for name, command in FOUND.items()
    for option in command.params
    if isinstance(option, click.Option)
]


def test_the_tables_are_made_of_the_commands():
    assert make_cli_page.filled(PAGE) == PAGE, "run tests/make_cli_page.py"
    assert {name.split()[1] for name in FOUND} == set(COMMANDS)
    assert len(make_cli_page.TABLE.findall(PAGE)) == PAGE.count("<!-- made:") == len(make_cli_page.KINDS)
    assert "| `-q`, `--quality` | `0..100` | `60` | 0 (smallest) .. 100 (closest" in PAGE
    assert f"| `--model` | `MODEL` | `{DEFAULT_MODEL}` |" in PAGE
    assert "| `--verify`, `--no-verify` |  | on |" in PAGE
    assert "| `--anchor` | `fidelity\\|perception` | `fidelity` |" in PAGE


def test_every_error_has_a_code_of_its_own_which_the_page_names():
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len({kind.exit_code for kind in classes}) == len(classes) > 20
    for kind in set(classes) - {errors.NicodecError}:
        assert f"\n| {kind.exit_code} | {kind.__name__} | " in PAGE


@pytest.mark.parametrize("name", FOUND)
def test_every_command_has_help(name):
    assert FOUND[name].help


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_has_help_which_says_its_default(command, option):
    assert option.help
    default = option.get_default(click.Context(command))
    if not option.is_flag and isinstance(default, (str, int, float)):
        assert option.show_default, f"the default is {default!r}"
    assert "None" not in " ".join(option.get_help_record(click.Context(command)))
