"""`nicodec decode`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from nicodec.cli import streams
from nicodec.errors import PartialPictureError, UsageError
from nicodec.options import ANCHORS, DEFAULT_STEPS, DecodeOptions

TAU = "{tau}"


class Taus(click.ParamType[Any]):
    """Numbers with commas between."""

    name = "taus"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Parse, or fail with what was expected."""
        try:
            return tuple(float(number) for number in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no tau, expected a number 0..1, or several such as 0,0.5,1", param, ctx)


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
@click.option("--tau", "taus", type=Taus(), default="0", show_default=True, metavar="0..1",
              help="0: as close to the original as can be; 1: as natural as can be; between: between. Several, such as "
              "0,0.5,1, need {tau} in the output's name.")  # fmt: skip
@click.option("--steps", type=int, default=DEFAULT_STEPS, show_default=True, metavar="1..8",
              help="Steps of the diffusion behind tau: 1 is quickest.")  # fmt: skip
@click.option("--seed", type=int, help="Of the diffusion's noise. Default: from the file, so that a file decodes to "
              "one picture.")  # fmt: skip
@click.option("--best-effort", is_flag=True, help="Decode what is whole of a damaged file: tiles fail alone, tokens "
              "stand in where they can. Exit code 18 if anything is missing.")  # fmt: skip
@click.option("--crop", type=Crop(), metavar="X,Y,W,H", help="Decode only W x H pixels from (X, Y).")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
              help="Where the float networks run. The entropy path always runs on the CPU.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
@streams.common_options
def command(
    source: str | None, output: str | None, anchor: str, taus: tuple[float, ...], steps: int, seed: int | None,
    best_effort: bool, crop: tuple[int, int, int, int] | None, device: str, force: bool, threads: int | None,
    as_json: bool, verbose: bool, quiet: bool,
) -> None:  # fmt: skip
    """Decode FILE.nic (- is stdin) to a picture file."""
    options = DecodeOptions(anchor, taus, steps, seed, best_effort, crop, device)
    source = streams.resolve_input(source)
    output = streams.resolve_output(output, "picture.png")
    if len(set(taus)) > 1 and TAU not in output:
        raise UsageError(f"{len(taus)} taus, one output: put {TAU} into its name, such as -o picture-{TAU}.png")
    outputs = [output.replace(TAU, f"{tau:g}") for tau in taus]
    for name in outputs:
        streams.refuse_existing(name, force, source)
    streams.set_threads(threads)
    data = streams.read_input(source)
    started = time.perf_counter()

    from nicodec.codec import decode_taus
    from nicodec.image.files import check_suffix, write_picture

    suffix = ".png" if streams.is_stream(output) else Path(output).suffix
    check_suffix(suffix)
    pictures = decode_taus(data, options)
    decoded = time.perf_counter() - started
    for name, picture in zip(outputs, pictures, strict=True):
        written, notes = write_picture(picture, suffix)
        streams.warn(notes, quiet)
        streams.write_output(name, written, force)
    seconds, names, picture = time.perf_counter() - started, ", ".join(outputs), pictures[0]
    line = f"{source} -> {names}: {picture.width}x{picture.height}, {len(data)} bytes, {seconds:.2f} s"
    if verbose:
        line += f"\n  decoding (start included): {decoded:.2f} s\n  writing: {seconds - decoded:.2f} s"
    fields = {
        "input": source, "output": outputs[0] if len(outputs) == 1 else outputs, "width": picture.width,
        "height": picture.height, "bytes": len(data), "seconds": round(seconds, 3),
    }  # fmt: skip
    streams.report(line, fields, as_json=as_json, quiet=quiet)
    if picture.damage:
        raise PartialPictureError(f"{names} was written, but the file is damaged: " + "; ".join(picture.damage))
