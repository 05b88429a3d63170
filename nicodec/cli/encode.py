"""`nicodec encode`."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from nicodec.cli import flags, jobs, messages
from nicodec.cli import streams as io
from nicodec.cli.inputs import Inputs, Job, input_options, is_done
from nicodec.cli.sizes import Finite, Size
from nicodec.container.layout import JPEG
from nicodec.errors import InputError, UsageError
from nicodec.options import (
    DEFAULT_EFFORT,
    DEFAULT_MODEL,
    DEFAULT_QUALITY,
    DEFAULT_REFERENCES,
    DEFAULT_TUNE,
    DRAWN,
    EFFORT_RANGE,
    LONGEST_CHAIN,
    PICTURES,
    QUALITY_RANGE,
    STREAMS,
    STRIPPABLE,
    TUNES,
    EncodeOptions,
    parse_references,
)

if TYPE_CHECKING:
    from nicodec.image.picture import Picture
    from nicodec.references.series import Series


class Reached(NamedTuple):
    """What a line, and its fields, say of a target; nothing where there was none."""

    words: str = ""
    fields: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Encoding:
    """What is done to each picture."""

    options: EncodeOptions
    target: tuple[str, float] | None  # bpp, bytes, psnr or lpips
    trunk: Path | None
    frame: int | None
    allow_8bit: bool
    allow_damaged: bool
    strip: tuple[str, ...]
    preserve_time: bool
    force: bool
    verbose: bool
    series: Series | None = None

    def __call__(self, job: Job) -> jobs.Outcome:
        """Read, encode, write."""
        (output,) = job.outputs
        force = self.force or (self.series is not None and Path(output) in self.series.lost)
        io.refuse_existing(output, force, job.source)
        data = io.read_input(job.source)
        started = time.perf_counter()

        from nicodec.container.info import describe
        from nicodec.container.reader import read_file

        picture = self._read(data)
        encoded, reached = self._encoded(picture, Path(output))
        io.write_output(output, encoded, force, like=job.source if self.preserve_time else None)
        seconds = time.perf_counter() - started
        facts = describe(read_file(encoded))
        named = messages.printable(f"{job.source} -> {output}")
        line = (
            f"{named}: {facts['width']}x{facts['height']}, {len(data)} -> {len(encoded)} bytes, "
            f"{facts['bpp']:.3f} bpp, {messages.quality_of(facts['quality'])}{reached.words}, {seconds:.2f} s"
        )
        if self.verbose:
            line += "".join(f"\n  {name}: {size} bytes" for name, size in facts["sections"].items())
        fields = {
            "input": job.source, "output": output, "input_bytes": len(data), "seconds": round(seconds, 3), **facts,
            **reached.fields,
        }  # fmt: skip
        notes = () if self.options.base == JPEG else picture.notes  # it keeps all that is lost otherwise
        return jobs.Outcome(line, fields, (*notes, *left_out(self.options, facts)))

    def in_series(self, planned: Sequence[Job]) -> tuple[Encoding, list[Job]]:
        """These pictures as a series, in the order in which they are coded."""
        from nicodec.references.series import Place, Series, turns

        outputs = [Path(output) for job in planned for output in job.outputs]
        ordered = turns(outputs)
        places = {}
        for turn in ordered:
            ahead = None if turn.ahead is None else partial(self._seen, planned[turn.ahead].source)
            places[outputs[turn.index]] = Place(turn.distance, turn.reach, ahead)
        return replace(self, series=Series(places)), [planned[turn.index] for turn in ordered]

    def is_done(self, job: Job) -> bool:
        """Whether a job's file is there, and, of a series, all that it refers to."""
        (output,) = job.outputs
        return is_done(job) and (
            self.series is None or self.series.keep(Path(output), self.options, partial(self._seen, job.source))
        )

    def _seen(self, source: str) -> Picture:
        """A picture whose turn comes later. Raises: InputError, it can be read only once; as `read_picture`."""
        if not io.is_file(source):
            raise InputError(f"{source} is no file")
        return self._read(io.read_input(source))

    def _read(self, data: bytes) -> Picture:
        from nicodec.image.files import read_picture

        picture = read_picture(data, self.frame, allow_8bit=self.allow_8bit, allow_damaged=self.allow_damaged)
        return picture.stripped(self.strip)

    def _encoded(self, picture: Picture, output: Path) -> tuple[bytes, Reached]:
        """The file, and what there is to be said of its target."""
        from nicodec.codec import encode_picture
        from nicodec.target import Target, encode_to_target

        if self.target is None:
            encode = encode_picture if self.series is None else partial(self.series.encode, output=output)
            return encode(picture, self.options), Reached()
        options, coming = self.options, None
        if self.series is not None:
            coming = self.series.next(picture.pixels, output)
            options = self.series.options(options, coming)
        kind, value = self.target
        if kind == "bpp":
            kind, value = "bytes", value * picture.width * picture.height / 8
        target = Target(kind, value, self.trunk)
        encoded, _, best = encode_to_target(picture, options, target)
        if self.series is not None and coming is not None:
            self.series.add(coming, encoded)
        said = {"target": target.kind, "asked": target.value, "reached": best if math.isfinite(best) else None}
        return encoded, Reached(f" ({target.spell(best)}, asked for {target.name})", said)


def left_out(options: EncodeOptions, facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What was asked for, or could be held, and is not there, a sentence each; `facts`: as `describe` gives them."""
    from nicodec.zoo.store import find_package

    if options.tune == "psnr" and facts["quality"] is not None and not (options.base or facts["tune"]):
        return (f"model {options.model} has one tune: --tune psnr changes nothing",)
    if options.recommend and facts["hint"] is None:
        return ("all of this picture is kept exactly: there is no tau to recommend",)
    welcome = options.base is None and options.streams is None and facts["format_version"] == 1
    if not welcome or facts["tokens"] or "vq" not in find_package(options.model).parts:
        return ()
    return (
        "tokens make a part of this picture worse, and were left out; --streams sq+vq writes them all the same, for "
        "--anchor perception",
    )


def coded_name(folder: str, place: Path, *, keep_suffix: bool) -> str:
    """The file that a picture at `place` in its tree is encoded to."""
    return str(Path(folder) / place.parent / f"{place.name if keep_suffix else place.stem}.nic")


@click.command("encode")
@click.argument("sources", nargs=-1, type=click.Path(), metavar="[PICTURE]...")
@click.option("-o", "--output", type=click.Path(), metavar="FILE.nic|DIR",
              help="Where to write; - is stdout. Default: stdout, if piped. "
              "Several inputs need a folder, in which their tree is mirrored.")  # fmt: skip
@click.option(
    "-q", "--quality", type=Finite(), default=DEFAULT_QUALITY, show_default=True,
    metavar=f"{QUALITY_RANGE[0]:g}..{QUALITY_RANGE[1]:g}",
    help=f"{QUALITY_RANGE[0]:g} (smallest) .. {QUALITY_RANGE[1]:g} (closest to the original, not lossless), "
    "continuous. About +4 % bytes a step.",
)  # fmt: skip
@click.option("--target-size", type=Size(), metavar="SIZE",
              help="Instead of a quality: the best file of at most SIZE bytes, such as 100KB.")  # fmt: skip
@click.option("--target-bpp", type=Finite(0, min_open=True), metavar="BPP",
              help="The best file of at most BPP bits a pixel.")  # fmt: skip
@click.option("--target-psnr", type=Finite(0), metavar="DB", help="The smallest file of at least DB.")
@click.option("--target-lpips", type=Finite(0), metavar="D", help="The smallest file of at most LPIPS (AlexNet) D.")
@click.option("--trunk", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="AlexNet weights for --target-lpips. Default: torch's cache.")  # fmt: skip
@click.option("-e", "--effort", type=int, default=DEFAULT_EFFORT, show_default=True,
              metavar=f"{EFFORT_RANGE[0]}..{EFFORT_RANGE[1]}",
              help=f"{EFFORT_RANGE[0]} (quick) .. {EFFORT_RANGE[1]} (slow, fewest bytes at equal quality). "
              "Decoding takes the same time.")  # fmt: skip
@click.option("--tune", type=click.Choice(TUNES), default=DEFAULT_TUNE, show_default=True,
              help="What bits are spent for: what eyes see, or PSNR. A model that has one tune is coded in "
              "that.")  # fmt: skip
@click.option("--streams", type=click.Choice(STREAMS), help="sq: fidelity alone; vq: tokens alone, for perception; "
              "sq+vq: both, of a model with a vq part. Default: all that the model has and the file can "
              "hold.")  # fmt: skip
@click.option("--token-bits", type=click.IntRange(1), metavar="N",
              help="Bits a token: 1 (coarse) .. depth of the codebook (closest). Default: all.")  # fmt: skip
@click.option("--robust", is_flag=True, help="Code tokens of a vq part without regard to the SQ stream: larger, but "
              "they survive damage to it (decode --best-effort).")  # fmt: skip
@click.option("--references", default=DEFAULT_REFERENCES, show_default=True, metavar="auto|off|N",
              help="Entries of the model's dictionary that the file refers to: N of them, none, or (auto) three where "
              "they pay. Decoding takes the same dictionary.")  # fmt: skip
@click.option("--reference", "pictures", type=click.Path(path_type=Path), multiple=True, metavar="FILE",
              help="A .nic file or a picture that the file may refer to, such as another one of the scene; several "
              "times for several. Decoding takes it as well.")  # fmt: skip
@click.option("--dictionary", "dictionaries", type=click.Path(path_type=Path), multiple=True, metavar="FILE.nicdict",
              help="Search such pictures in a dictionary, see `nicodec dictionary`. Decoding takes it as "
              "well.")  # fmt: skip
@click.option("--series", is_flag=True, help="Let pictures of a folder refer to others of it, near them in the "
              f"order of names, or as they are given. To decode one takes a chain of at most {LONGEST_CHAIN} others. "
              "What others refer to is coded better, where that pays.")  # fmt: skip
@click.option("--drawn", type=click.Choice(DRAWN), default=DRAWN[0], show_default=True,
              help="Blocks of 32x32 pixels that are kept exactly (drawings, text): auto: where that costs less, in "
              "bits and error; all: the picture without loss.")  # fmt: skip
@click.option("--roi", type=click.Path(), metavar="MASK", help="A picture in grey, of any size, that is stretched over "
              "the input: white parts get a better quality (19 more), black the one that was asked for. The file then "
              "has no tokens of a vq part and no entries of a dictionary part.")  # fmt: skip
@click.option("--recommend", is_flag=True, help="Find the tau that has as much texture as the original, and write it "
              "into the file, for decode --tau auto. Takes as long as a decode or two.")  # fmt: skip
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Model package, see `nicodec models list`.")
@click.option("--base", metavar="NAME", help="Another codec in place of the model. jpeg: keep a JPEG file as it is, "
              "for decode to give back or to restore. compressai:mbt2018-mean-q3 and the like: their entropy path is "
              "float, so their files are not promised to decode on other machines.")  # fmt: skip
@click.option("--base-weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Its weights, a safetensors file, see `nicodec models fetch`. A JPEG has none.")  # fmt: skip
@click.option("--verify/--no-verify", default=True, show_default=True, help="Decode the symbols again and compare; "
              "of what is no photograph, leave out tokens that make a part of the picture worse.")  # fmt: skip
@flags.engine_options
@click.option("--frame", type=click.IntRange(0), metavar="N",
              help="Picture of a file with several: 0 .. the last. Default: the first, with a warning.")  # fmt: skip
@click.option("--allow-8bit", is_flag=True, help="Reduce deeper samples to 8 bits instead of refusing them.")
@click.option("--allow-damaged", is_flag=True, help="Take what can be read of a truncated or damaged picture, with a "
              "warning, instead of refusing it.")  # fmt: skip
@click.option("--strip", type=click.Choice(STRIPPABLE), multiple=True, help="Leave metadata out; several times for "
              "several. exif includes the DPI. Default: nothing.")  # fmt: skip
@click.option("--preserve-time", is_flag=True, help="Give the output the input's time of modification.")
@click.option("--lossless", is_flag=True, help="Refused, with advice: see --drawn all.")
@input_options
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
@flags.common_options
def command(
    sources: tuple[str, ...], output: str | None, quality: float, target_size: float | None,
    target_bpp: float | None, target_psnr: float | None, target_lpips: float | None, trunk: Path | None, effort: int,
    tune: str, streams: str | None, token_bits: int | None, robust: bool, references: str,
    pictures: tuple[Path, ...], dictionaries: tuple[Path, ...], series: bool, drawn: str, roi: str | None,
    recommend: bool, model: str, base: str | None, base_weights: Path | None, verify: bool, device: str, engine: str,
    frame: int | None, allow_8bit: bool, allow_damaged: bool, strip: tuple[str, ...], preserve_time: bool,
    lossless: bool, force: bool, threads: int | None, as_json: bool, verbose: bool, quiet: bool, **inputs: Any,
) -> None:  # fmt: skip
    """Encode PICTURE (PNG, JPEG, WebP, TIFF, AVIF, BMP, PPM, PAM; - is stdin) to a .nic file.

    Keeps alpha (without loss), ICC profile, EXIF, XMP and DPI. Any size, 8 bits a sample.
    """
    if lossless:
        raise UsageError(
            "no quality is without loss; for a lossless file, large where the picture is a photograph, give --drawn all"
        )
    from nicodec.references.library import Held

    mask = None
    if roi is not None:
        from nicodec.image.given import mask_of

        mask = mask_of(io.read_input(roi))
    referred = tuple(Held.given(path) for path in pictures) if pictures else parse_references(references)
    options = EncodeOptions(
        quality, effort, tune, streams, token_bits, robust, referred, model, base, base_weights, verify, device, drawn,
        mask, engine, dictionaries, recommend,
    )  # fmt: skip
    targets = {"bytes": target_size, "bpp": target_bpp, "psnr": target_psnr, "lpips": target_lpips}
    asked = [(kind, value) for kind, value in targets.items() if value is not None]
    explicit = click.get_current_context().get_parameter_source("quality") is ParameterSource.COMMANDLINE
    if len(asked) + explicit > 1:
        raise UsageError("--quality and the targets exclude one another: give one of them")
    if explicit and (base == JPEG or drawn == "all"):
        raise UsageError("what is kept exactly has no quality; leave --quality out")
    if trunk is not None and target_lpips is None:
        raise UsageError("--trunk is what --target-lpips measures by; give that too, or leave it out")
    encoding = Encoding(
        options, asked[0] if asked else None, trunk, frame, allow_8bit, allow_damaged, strip, preserve_time, force,
        verbose,
    )  # fmt: skip
    given = Inputs(sources, output, suffixes=PICTURES, **inputs)
    if series and (given.jobs > 1 or not given.many):
        raise UsageError(
            "a series is several pictures, one after the other: name a folder with -r, and leave out --jobs"
        )
    if given.many:
        planned = given.plan(lambda folder, place: (coded_name(folder, place, keep_suffix=given.keep_suffix),))
        if series:
            options.check_referring()
            encoding, planned = encoding.in_series(planned)
        jobs.run(planned, encoding, given, threads, as_json=as_json, quiet=quiet, is_done=encoding.is_done)
        return
    source = io.resolve_input(sources[0] if sources else None)
    output = io.resolve_output(output, "picture.nic")
    if Path(output).suffix.lower() in PICTURES:
        raise UsageError(f"{output} is a name for a picture, and what is written is a .nic file; name it FILE.nic")
    jobs.run_one(Job(source, (output,)), encoding, given, threads, as_json=as_json, quiet=quiet)
