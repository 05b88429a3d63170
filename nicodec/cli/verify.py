"""`nicodec verify`."""

from __future__ import annotations

from pathlib import Path

import click

from nicodec.cli import flags, jobs, messages, streams


@click.command("verify")
@click.argument("sources", nargs=-1, type=click.Path(), metavar="[FILE.nic]...")
@click.option("--base-weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Weights of the other codec that wrote the file. Default: an installed model's.")  # fmt: skip
@flags.max_pixels_option
@flags.common_options
def command(
    sources: tuple[str, ...], base_weights: Path | None, max_pixels: int | None, threads: int | None, as_json: bool,
    verbose: bool, quiet: bool,
) -> None:  # fmt: skip
    """Check FILEs (- is stdin) without making the pictures.

    Checks the CRCs, decodes the entropy stream and compares the symbols' CRC. The exit code tells a damaged file (7), a
    missing or damaged model (9, 10) and a machine that is not exact (11) from one another. Of another codec's file the
    strings are decoded where its weights are installed or named; what could not be checked is said. Of a file that
    keeps a JPEG, its bytes' CRC is checked, and that it can be read in full. Pictures that a file refers to are not
    looked for: `nicodec info` names them.
    """
    flags.set_threads(threads)

    def check(source: str) -> None:
        data = streams.read_input(source)
        from nicodec.codec import verify_bytes

        verdict = verify_bytes(data, max_pixels, base_weights)
        line = f"{source}: whole, {verdict.symbols} symbols exact"
        if not verdict.symbols:
            line = f"{source}: whole, all drawn, its pixels exact"
        if verdict.jpeg_bytes:
            line = f"{source}: whole, {verdict.jpeg_bytes} bytes of a JPEG exact, and readable in full"
        if verdict.unchecked:
            line = f"{source}: whole, but its symbols are not checked: {verdict.unchecked}"
        if verdict.refers_to:
            line += f"; it takes {verdict.refers_to} other picture{'s'[: verdict.refers_to > 1]} to decode it"
        if verbose:
            line += f", {verdict.seconds:.2f} s"
        fields = {"input": source, "whole": True, "symbols": verdict.symbols, "seconds": round(verdict.seconds, 3)}
        if verdict.jpeg_bytes:
            fields["jpeg_bytes"] = verdict.jpeg_bytes
        if verdict.unchecked:
            fields["unchecked"] = verdict.unchecked
        if verdict.refers_to:
            fields["refers_to"] = verdict.refers_to
        messages.report(line, fields, as_json=as_json, quiet=quiet)

    jobs.each(sources, check, as_json=as_json)
