"""`nicodec decode`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from nicodec.cli import streams
from nicodec.errors import PartialPictureError
from nicodec.options import ANCHORS, DecodeOptions


class Crop(click.ParamType[Any]):
    """Four whole numbers: X,Y,W,H."""

    name = "crop"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int, int]:
        """Parse, or fail with what was expected."""
        try:
            left, top, width, height = (int(number) for number in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no crop, expected X,Y,W,H in pixels, such as 0,0,640,480", param, ctx)
        return left, top, width, height


@click.command("decode")
@click.argument("source", required=False, metavar="[FILE.nic]")
@click.option("-o", "--output", metavar="PICTURE", help="Where to write: .png .jpg .webp .tif .bmp .ppm .pgm; - is "
              "stdout, as PNG. Default: stdout, if piped.")  # fmt: skip
@click.option("--anchor", type=click.Choice(ANCHORS), default="fidelity", show_default=True,
              help="The expert that the picture starts from: closest to the original, or most natural.")  # fmt: skip
@click.option("--best-effort", is_flag=True, help="Decode what is whole of a damaged file: tiles fail alone, tokens "
              "stand in where they can. Exit code 18 if anything is missing.")  # fmt: skip
@click.option("--crop", type=Crop(), metavar="X,Y,W,H", help="Decode only W x H pixels from (X, Y).")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
              help="Where the float networks run. The entropy path always runs on the CPU.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
@streams.common_options
def command(
    source: str | None, output: str | None, anchor: str, best_effort: bool, crop: tuple[int, int, int, int] | None,
    device: str, force: bool, threads: int | None, as_json: bool, verbose: bool, quiet: bool,
) -> None:  # fmt: skip
    """Decode FILE.nic (- is stdin) to a picture file."""
    source = streams.resolve_input(source)
    output = streams.resolve_output(output, "picture.png")
    streams.refuse_existing(output, force, source)
    streams.set_threads(threads)
    data = streams.read_input(source)
    started = time.perf_counter()

    from nicodec.codec import decode_bytes
    from nicodec.image.files import check_suffix, write_picture

    suffix = ".png" if streams.is_stream(output) else Path(output).suffix
    check_suffix(suffix)
    picture = decode_bytes(data, DecodeOptions(anchor, best_effort, crop, device))
    decoded = time.perf_counter() - started
    written, notes = write_picture(picture, suffix)
    streams.warn(notes, quiet)
    streams.write_output(output, written, force)
    seconds = time.perf_counter() - started
    line = f"{source} -> {output}: {picture.width}x{picture.height}, {len(data)} bytes, {seconds:.2f} s"
    if verbose:
        line += f"\n  decoding (start included): {decoded:.2f} s\n  writing: {seconds - decoded:.2f} s"
    fields = {
        "input": source, "output": output, "width": picture.width, "height": picture.height,
        "bytes": len(data), "seconds": round(seconds, 3),
    }  # fmt: skip
    streams.report(line, fields, as_json=as_json, quiet=quiet)
    if picture.damage:
        raise PartialPictureError(f"{output} was written, but the file is damaged: " + "; ".join(picture.damage))
