"""What a command says: reports, warnings, errors; a line each, or a line of JSON."""

from __future__ import annotations

import json
from typing import Any

import click

from nicodec.cli.streams import STANDARD
from nicodec.errors import NicodecError


def quality_of(quality: float | None) -> str:
    """A file's quality in words; None: all of it is drawn."""
    return "exact" if quality is None else f"quality {quality:.4g}"


def printable(text: str) -> str:
    """One line, whatever names are in it: what would steer a terminal, or is no text, is spelled as Python does."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def report(line: str, fields: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    """What is to be said of a finished file, on stderr."""
    if as_json:
        click.echo(json.dumps(fields), err=True)
    elif not quiet:
        click.echo("\n".join(map(printable, line.split("\n"))), err=True)


def complain(error: NicodecError, *, as_json: bool) -> None:
    """One line about an error, on stderr; it names the input that it is about."""
    named = None if error.input == STANDARD else error.input
    fields: dict[str, Any] = {"input": error.input} if error.input else {}
    line = f"{named}: {error}" if named and named not in str(error) else str(error)
    fields |= {"error": str(error), "exit_code": error.exit_code}
    report(f"nicodec: error: {line}", fields, as_json=as_json, quiet=False)


def warn(notes: tuple[str, ...], quiet: bool) -> None:
    """What was lost or left out, on stderr."""
    for note in notes:
        if not quiet:
            click.echo(f"nicodec: warning: {printable(note)}", err=True)
