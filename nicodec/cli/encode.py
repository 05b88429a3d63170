"""`nicodec encode`."""

from __future__ import annotations

import time

import click

from nicodec.cli import streams as io
from nicodec.options import (
    DEFAULT_EFFORT,
    DEFAULT_MODEL,
    DEFAULT_QUALITY,
    EFFORT_RANGE,
    QUALITY_RANGE,
    STREAMS,
    EncodeOptions,
)


@click.command("encode")
@click.argument("source", required=False, metavar="[PICTURE]")
@click.option("-o", "--output", metavar="FILE.nic", help="Where to write; - is stdout. Default: stdout, if piped.")
@click.option(
    "-q", "--quality", type=float, default=DEFAULT_QUALITY, show_default=True,
    help=f"{QUALITY_RANGE[0]:g} (smallest) .. {QUALITY_RANGE[1]:g} (closest to the original, not lossless), "
    "continuous. About +4 % bytes a step.",
)  # fmt: skip
@click.option("-e", "--effort", type=int, default=DEFAULT_EFFORT, show_default=True,
              help=f"{EFFORT_RANGE[0]} (quick) .. {EFFORT_RANGE[1]} (slow, smallest file). "
              "Decoding takes the same time.")  # fmt: skip
@click.option("--streams", type=click.Choice(STREAMS), help="sq: fidelity alone; vq: tokens alone, for perception; "
              "sq+vq: both. Default: sq+vq, or sq where the model has no VQ part.")  # fmt: skip
@click.option("--token-bits", type=click.IntRange(1), metavar="N",
              help="Bits a token, from 1 (coarse) to the depth of the model's codebook, the default.")  # fmt: skip
@click.option("--robust", is_flag=True, help="Code tokens without regard to the SQ stream: larger, but they survive "
              "damage to it (decode --best-effort).")  # fmt: skip
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Model package, see `nicodec models list`.")
@click.option("--verify/--no-verify", default=True, show_default=True, help="Decode the symbols again and compare.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
              help="Where the float networks run. The entropy path always runs on the CPU.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
@io.common_options
def command(
    source: str | None, output: str | None, quality: float, effort: int, streams: str | None,
    token_bits: int | None, robust: bool, model: str, verify: bool, device: str,
    force: bool, threads: int | None, as_json: bool, verbose: bool, quiet: bool,
) -> None:  # fmt: skip
    """Encode PICTURE (PNG, JPEG, WebP, TIFF, AVIF, BMP, PPM; - is stdin) to a .nic file.

    Keeps alpha (without loss), ICC profile, EXIF and XMP. Any size, 8 bits a sample.
    """
    options = EncodeOptions(quality, effort, streams, token_bits, robust, model, verify, device)
    source = io.resolve_input(source)
    output = io.resolve_output(output, "picture.nic")
    io.refuse_existing(output, force, source)
    io.set_threads(threads)
    data = io.read_input(source)
    started = time.perf_counter()

    from nicodec.codec import encode_picture
    from nicodec.container.info import describe
    from nicodec.container.reader import read_file
    from nicodec.image.files import read_picture

    picture = read_picture(data)
    io.warn(picture.notes, quiet)
    encoded = encode_picture(picture, options)
    io.write_output(output, encoded, force)
    seconds = time.perf_counter() - started
    facts = describe(read_file(encoded))
    line = (
        f"{source} -> {output}: {facts['width']}x{facts['height']}, {len(data)} -> {len(encoded)} bytes, "
        f"{facts['bpp']:.3f} bpp, quality {quality:g}, {seconds:.2f} s"
    )
    if verbose:
        line += "".join(f"\n  {name}: {size} bytes" for name, size in facts["sections"].items())
    fields = {"input": source, "output": output, "input_bytes": len(data), "seconds": round(seconds, 3), **facts}
    io.report(line, fields, as_json=as_json, quiet=quiet)
