"""Write the tables of nicodec/CLI.md, which are made of the commands and errors themselves.

python tests/make_cli_page.py

A table stands between `<!-- made: KIND -->` and `<!-- end -->`; what stands around it is written by hand.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from nicodec import errors
from nicodec.cli.main import main

PAGE = Path(errors.__file__).parent / "CLI.md"
TABLE = re.compile(r"(<!-- made: (.*?) -->\n).*?(<!-- end -->)", re.S)


def filled(text: str) -> str:
    """The page's text with its tables made anew."""
    return TABLE.sub(lambda found: f"{found[1]}{KINDS[found[2]]()}\n{found[3]}", text)


def commands(command: click.Command = main, name: str = "nicodec") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its whole name, in the order of the help."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for word in command.list_commands(context):
            inner = command.get_command(context, word)
            assert inner is not None
            yield from commands(inner, f"{name} {word}")
    else:
        yield name, command


def options() -> str:
    """A section for each command: how it is called, what it does, a table of its options."""
    parts = []
    for name, command in commands():
        arguments = [p.metavar or str(p.name).upper() for p in command.params if isinstance(p, click.Argument)]
        own = [option for option in command.params if isinstance(option, click.Option)]
        help_ = inspect.cleandoc(command.help or "")
        parts.append(f"### {name}\n\n`{' '.join([name, *['[OPTIONS]'] * bool(own), *arguments])}`\n\n{help_}\n")
        if own:
            parts.append("| option | values | default | |\n|---|---|---|---|")
            parts += [_row(option) for option in own]
            parts.append("")
    return "\n".join(parts)


def _row(option: click.Option) -> str:
    spelled = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    cells = (spelled, "" if option.is_flag else f"`{_value(option)}`", _default(option), option.help or "")
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _value(option: click.Option) -> str:
    """What may stand there, without click's own words for it, which change from version to version."""
    kind = option.type
    if option.metavar:
        return option.metavar
    if isinstance(kind, click.Choice):
        return "|".join(kind.choices)
    if isinstance(kind, (click.IntRange, click.FloatRange)) and None not in (kind.min, kind.max):
        return f"{kind.min:g}..{kind.max:g}"
    return "N" if kind.name.startswith("integer") else str(option.name).upper()


def _default(option: click.Option) -> str:
    if option.required:
        return "required"
    if not option.show_default:
        return ""
    if option.is_flag:
        return "on" if option.default else "off"
    values = option.default if isinstance(option.default, (list, tuple)) else [option.default]
    return ", ".join(f"`{value:g}`" if isinstance(value, float) else f"`{value}`" for value in values)


def exit_codes() -> str:
    """A table of all classes of errors."""
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    rows = sorted((kind.exit_code, kind.__name__, inspect.getdoc(kind) or "") for kind in classes)
    lines = [f"| {code} | {name} | {' '.join(text.split())} |" for code, name, text in rows if code > 1]
    return "\n".join(["| code | class | means |", "|---|---|---|", *lines])


KINDS = {"options": options, "exit codes": exit_codes}

if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
