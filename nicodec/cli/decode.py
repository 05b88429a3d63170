"""`nicodec decode`."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from nicodec.cli import flags, jobs, messages, streams
from nicodec.cli.inputs import Inputs, Job, input_options
from nicodec.cli.sizes import Size
from nicodec.errors import PartialPictureError, UsageError
from nicodec.options import ANCHORS, DEFAULT_STEPS, NATURAL_TAU, SCALES, STRIPPABLE, DecodeOptions, spell_tau, taus_of

TAU = "{tau}"
SEVERAL = f"Several, such as 0,0.5,1, need {TAU} in the output's name. "
ALIASES = {"jpeg": "jpg", "jpe": "jpg", "jfif": "jpg", "tiff": "tif"}
FORMATS = ("png", "jpg", "webp", "tif", "avif", "bmp", "ppm", "pgm", "pam")


@dataclass(frozen=True)
class Decoding:
    """What is done to each file."""

    options: DecodeOptions
    suffix: str | None
    strip: tuple[str, ...]
    preserve_time: bool
    force: bool
    verbose: bool
    skip_existing: bool

    def __call__(self, job: Job) -> jobs.Outcome:
        """Read, decode, write a picture for each tau.

        Raises:
            PartialPictureError: all was written, but the file is damaged.
        """
        wanted = dict(zip(job.outputs, self.options.taus, strict=True))
        if self.skip_existing:  # and not all of them do
            wanted = {output: tau for output, tau in wanted.items() if not streams.is_file(output)}
        outputs = list(wanted)
        for output in outputs:
            streams.refuse_existing(output, self.force, job.source)
        data, size, lost = self.read(job.source)
        started = time.perf_counter()

        from nicodec.codec import decode_taus, settled
        from nicodec.container.reader import read_file
        from nicodec.image.files import check_suffix, write_picture

        suffix = self.suffix or (".png" if streams.is_stream(outputs[0]) else Path(outputs[0]).suffix)
        check_suffix(suffix)
        beside = None if job.source == streams.STANDARD else Path(job.source).parent
        pictures = decode_taus(data, replace(self.options, taus=tuple(wanted.values()), beside=beside))
        decoded = time.perf_counter() - started
        notes: tuple[str, ...] = ()
        for output, picture in zip(outputs, pictures, strict=True):
            written, notes = write_picture(picture.stripped(self.strip), suffix)
            streams.write_output(output, written, self.force, like=job.source if self.preserve_time else None)
        seconds, names, picture = time.perf_counter() - started, ", ".join(outputs), pictures[0]
        named = messages.printable(f"{job.source} -> {names}")
        line = f"{named}: {picture.width}x{picture.height}, {size} bytes, {seconds:.2f} s"
        if self.verbose:
            line += f"\n  decoding (start included): {decoded:.2f} s\n  writing: {seconds - decoded:.2f} s"
        if picture.damage:
            raise PartialPictureError(f"{names} was written, but the file is damaged: " + "; ".join(picture.damage))
        file, alone = read_file(data), len(outputs) == 1
        taus = settled(replace(self.options, taus=tuple(wanted.values())), file).taus
        led = self.options.restores if file.holds_jpeg else file.streams
        fields = {
            "input": job.source, "output": outputs[0] if alone else outputs, "width": picture.width,
            "height": picture.height, "bytes": size, "seconds": round(seconds, 3),
            "anchor": self.options.anchor if led else None, "tau": (taus[0] if alone else list(taus)) if led else None,
        }  # fmt: skip
        return jobs.Outcome(line, fields, tuple(dict.fromkeys((*lost, *notes))))

    def read(self, source: str) -> tuple[bytes, int, tuple[str, ...]]:
        """The .nic file that an input is, the bytes of the input, and what of it is not in that file."""
        data = streams.read_input(source)
        return data, len(data), ()


def fill_in(output: str, taus: tuple[float, ...]) -> tuple[str, ...]:
    """The output's name for each tau."""
    return tuple(output.replace(TAU, spell_tau(tau)) for tau in taus)


def picture_names(
    folder: str, place: Path, *, taus: tuple[float, ...], kind: str | None, keep_suffix: bool
) -> tuple[str, ...]:
    """The pictures that a file at `place` in its tree is decoded to, one for each tau.

    `{tau}` in the folder's name is filled in, unless there is a folder of that very name; in `place`, which nobody
    wrote for us, it stays. Several taus stand in the pictures' names where they are not in the folder's.
    """
    stem, suffix = place.stem, f".{kind or 'png'}"
    own = Path(stem).suffix
    own_kind = ALIASES.get(own[1:].lower(), own[1:].lower())
    if keep_suffix and own_kind in FORMATS and kind in (None, own_kind):
        stem, suffix = Path(stem).stem, own
    folders = (folder,) * len(taus) if streams.is_folder(folder) else fill_in(folder, taus)
    marks = [f"-{spell_tau(tau)}" if len(taus) > len(set(folders)) else "" for tau in taus]
    return tuple(
        str(Path(filled) / place.parent / f"{stem}{mark}{suffix}") for filled, mark in zip(folders, marks, strict=True)
    )


class Taus(click.ParamType[Any]):
    """Numbers with commas between. `auto`: or that word, which makes none of them."""

    name = "taus"

    def __init__(self, *, auto: bool = False) -> None:
        self.auto = auto

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Parse, or fail with what was expected."""
        if self.auto and value == "auto":
            return ()
        try:
            return tuple(dict.fromkeys(float(number) for number in value.split(",")))
        except ValueError:
            others = ", or auto" * self.auto
            self.fail(f"{value!r} is no tau, expected a number 0..1, or several such as 0,0.5,1{others}", param, ctx)


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
@click.argument("sources", nargs=-1, type=click.Path(), metavar="[FILE.nic]...")
@click.option("-o", "--output", type=click.Path(), metavar="PICTURE|DIR",
              help="Where to write: .png .jpg .webp .tif .avif .bmp .ppm .pgm "
              ".pam; - is stdout. Default: stdout, if piped. Several inputs need a folder, in which their tree is "
              "mirrored.")  # fmt: skip
@click.option("--format", "kind", type=click.Choice(FORMATS),
              help="Format to write, whatever the name. Default: by the output's suffix; png on stdout and in a folder."
              " A JPEG that the file keeps is given back to the byte, unless that is to be changed.")  # fmt: skip
@click.option("--anchor", type=click.Choice(ANCHORS), default="fidelity", show_default=True,
              help="The expert that the picture starts from: closest to the original, or, by the file's tokens, most "
              "natural.")  # fmt: skip
@click.option("--tau", "taus", type=Taus(auto=True), metavar="0..1|auto",
              help="How far the anchor's picture is led to a natural one: 0 not at all, 1 all the way. "
              f"{SEVERAL}auto: what the file recommends to the perception anchor "
              "(encode --recommend), if it does. Default: 0; of a JPEG that the file keeps its own picture, which any "
              "tau restores; of the perception anchor, which paints where tau leads, as auto or "
              f"{NATURAL_TAU:g} (files of version 1: 0).")  # fmt: skip
@click.option("--steps", type=int, default=DEFAULT_STEPS, show_default=True, metavar="1..8",
              help="Steps of the diffusion behind tau: 1, or more, which are slower and seldom better.")  # fmt: skip
@click.option("--seed", type=int, help="Of the diffusion's noise, 0 .. 2^64-1. Default: from the file, so that it "
              "decodes to one picture.")  # fmt: skip
@click.option("--best-effort", is_flag=True, help="Decode what is whole of a damaged file: tiles fail alone, tokens "
              "stand in where they can. Exit code 18 if anything is missing.")  # fmt: skip
@click.option(
    "--crop", type=Crop(), metavar="X,Y,W,H", help="Decode only W x H pixels from (X, Y). Default: all of it."
)
@click.option("--scale", type=click.Choice([str(scale) for scale in SCALES]), default="1", show_default=True,
              help="A picture so many times smaller each way, each pixel the average of a square. Quick with the "
              "fidelity anchor and tau 0; another anchor, a tau, alpha, --best-effort, or a --crop (in pixels of the "
              "full picture) that does not start at a multiple of it take a full decode first.")  # fmt: skip
@flags.max_pixels_option
@click.option("--memory-limit", type=Size(), metavar="SIZE",
              help="Refuse, before any network runs, what is estimated to need more memory, such as 2GiB. "
              "Default: no limit.")  # fmt: skip
@click.option("--base-weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Weights of the other codec that wrote the file. Default: an installed model's.")  # fmt: skip
@click.option("--reference", "pictures", type=click.Path(path_type=Path), multiple=True, metavar="FILE",
              help="A picture that the file may refer to; several times for several. Those beside the file are found "
              "by their names.")  # fmt: skip
@click.option("--dictionary", "dictionaries", type=click.Path(path_type=Path), multiple=True, metavar="FILE.nicdict",
              help="A dictionary that it may refer to. Also looked in: those that NICODEC_DICTIONARIES "
              "names.")  # fmt: skip
@flags.engine_options
@click.option("--strip", type=click.Choice(STRIPPABLE), multiple=True, help="Leave metadata out; several times for "
              "several. exif includes the DPI. Default: nothing.")  # fmt: skip
@click.option("--preserve-time", is_flag=True, help="Give the output the input's time of modification.")
@input_options
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
@flags.common_options
def command(
    sources: tuple[str, ...], output: str | None, kind: str | None, anchor: str, taus: tuple[float, ...] | None,
    steps: int, seed: int | None, best_effort: bool, crop: tuple[int, int, int, int] | None, scale: str,
    max_pixels: int | None, memory_limit: float | None, base_weights: Path | None, pictures: tuple[Path, ...],
    dictionaries: tuple[Path, ...], device: str, engine: str, strip: tuple[str, ...], preserve_time: bool, force: bool,
    threads: int | None, as_json: bool, verbose: bool, quiet: bool, **inputs: Any,
) -> None:  # fmt: skip
    """Decode FILE.nic (- is stdin) to a picture file."""
    limit = None if memory_limit is None else int(memory_limit)
    from nicodec.references.library import Held

    led = taus_of(taus, anchor)
    if led["recommended"] and TAU in (output or "") and not streams.is_folder(str(output)):
        raise UsageError(f"the tau that a file recommends is not known before: leave {TAU} out of {output}, or say one")
    options = DecodeOptions(
        anchor, steps=steps, seed=seed, best_effort=best_effort, crop=crop, max_pixels=max_pixels, memory_limit=limit,
        base_weights=base_weights, device=device, engine=engine, scale=int(scale),
        references=tuple(map(Held.given, pictures)), dictionaries=dictionaries, **led,
    )  # fmt: skip
    given = Inputs(sources, output, suffixes=frozenset({".nic"}), **inputs)
    suffix = f".{kind}" if kind else None
    decoding = Decoding(options, suffix, strip, preserve_time, force, verbose, given.skip_existing)
    if given.many:
        planned = given.plan(partial(picture_names, taus=options.taus, kind=kind, keep_suffix=given.keep_suffix))
        jobs.run(planned, decoding, given, threads, as_json=as_json, quiet=quiet)
        return
    run_one(decoding, given, threads, as_json=as_json, quiet=quiet)


def run_one(decoding: Decoding, given: Inputs, threads: int | None, *, as_json: bool, quiet: bool) -> None:
    """Decode one file.

    Raises:
        UsageError: no input or output, or several taus and one output.
    """
    source = streams.resolve_input(given.names[0] if given.names else None)
    output, taus = streams.resolve_output(given.output, "picture.png"), decoding.options.taus
    if len(taus) > 1 and TAU not in output:
        raise UsageError(f"{len(taus)} taus, one output: put {TAU} into its name, such as -o picture-{TAU}.png")
    jobs.run_one(Job(source, fill_in(output, taus)), decoding, given, threads, as_json=as_json, quiet=quiet)
