"""`nicodec verify`."""

from __future__ import annotations

import click

from nicodec.cli import streams


@click.command("verify")
@click.argument("source", required=False, type=click.Path(), metavar="[FILE.nic]")
@streams.max_pixels_option
@streams.common_options
def command(
    source: str | None, max_pixels: int | None, threads: int | None, as_json: bool, verbose: bool, quiet: bool
) -> None:
    """Check FILE.nic (- is stdin) without making the picture.

    Checks the CRCs, decodes the entropy stream and compares the symbols' CRC. The exit code tells a damaged file (7), a
    missing or damaged model (9, 10) and a machine that is not exact (11) from one another.
    """
    source = streams.resolve_input(source)
    streams.set_threads(threads)
    data = streams.read_input(source)

    from nicodec.codec import verify_bytes

    verdict = verify_bytes(data, max_pixels)
    line = f"{source}: whole, {verdict.symbols} symbols exact"
    if verbose:
        line += f", {verdict.seconds:.2f} s"
    fields = {"input": source, "whole": True, "symbols": verdict.symbols, "seconds": round(verdict.seconds, 3)}
    streams.report(line, fields, as_json=as_json, quiet=quiet)
