"""`nicodec info`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from nicodec.cli import flags, jobs, messages, streams
from nicodec.container.info import describe
from nicodec.container.layout import MAGIC
from nicodec.container.reader import NicFile, read_file
from nicodec.container.references import read_aligned
from nicodec.errors import UsageError

STREAM = "{stream}"


@click.command("info")
@click.argument("sources", nargs=-1, type=click.Path(), metavar="[FILE.nic]...")
@click.option("--json", "as_json", is_flag=True, help="All fields as one line of JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Also where the bytes go, and which model the file names.")
@click.option("--bitmap", type=click.Path(), metavar="OUT.png",
              help="Draw where the bits went, from the coder's exact costs; with {stream} in the name, a map "
              "for each stream. Runs no network.")  # fmt: skip
@click.option("-f", "--force", is_flag=True, help="Overwrite the bitmap.")
@flags.max_pixels_option
def command(
    sources: tuple[str, ...], as_json: bool, verbose: bool, bitmap: str | None, force: bool, max_pixels: int | None
) -> None:
    """Say what FILEs (- is stdin) are. Checks every CRC; loads no network."""
    if bitmap is not None and len(sources) > 1:
        raise UsageError(f"--bitmap draws one file, not {len(sources)}")
    if bitmap is not None and not bitmap.lower().endswith(".png"):
        raise UsageError(f"--bitmap writes PNG, and {bitmap} is no name of one; expected OUT.png")

    def say(source: str) -> None:
        file = read_file(streams.read_input(source))
        facts = describe(file)
        if bitmap is not None:
            facts |= _draw(file, bitmap, force, max_pixels)
        if verbose:
            facts |= {"chain": chain(file, Path(source).parent)}
        named = messages.printable(source)
        click.echo(json.dumps({"input": source, **facts}) if as_json else _lines(named, facts, verbose))

    jobs.each(sources, say, as_json=as_json)


def chain(file: NicFile, folder: Path, depth: int = 0) -> list[str]:
    """The pictures that a file refers to, and those that these refer to as far as they are found in its folder."""
    from nicodec.references.library import MAX_CHAIN, content_id

    lines = []
    for reference in read_aligned(file):
        path, found = folder / (reference.name or ""), "not found beside it"
        inner: list[str] = []
        if reference.name is None:
            found = ""
        elif streams.is_file(path) and content_id(data := path.read_bytes()) == reference.id:
            found = "beside it"
            if depth < MAX_CHAIN and data.startswith(MAGIC):
                inner = chain(read_file(data), folder, depth + 1)
        lines += [f"{'  ' * depth}{reference}{found and ', '}{found}", *inner]
    return lines


def _draw(file: NicFile, output: str, force: bool, max_pixels: int | None) -> dict[str, Any]:
    """Write the map, or one for each stream; what there is to say of it."""
    if STREAM not in output:
        streams.refuse_existing(output, force)
    from nicodec.bitmap import bit_costs, bits_a_pixel, draw

    costs = bit_costs(file, max_pixels)
    maps = {output.replace(STREAM, name): {name: cost} for name, cost in costs.items()}
    maps = maps if STREAM in output else {output: costs}
    for name in maps:
        streams.refuse_existing(name, force)
    for name, drawn in maps.items():
        streams.write_output(name, draw(drawn, file.header), force)
    return {
        "bits": {name: round(float(cost.sum()), 1) for name, cost in costs.items()},
        "white_bpp": {name: round(float(bits_a_pixel(drawn, file.header).max()), 3) for name, drawn in maps.items()},
    }


def _lines(source: str, facts: dict[str, Any], verbose: bool) -> str:
    kind = facts["colour"].replace("rgb", "RGB") + (" with alpha" if facts["alpha"] else "")
    how = facts["foreign"]["name"] if facts["foreign"] else messages.quality_of(facts["quality"])
    first = (
        f"{source}: {facts['width']}x{facts['height']} {kind}, {facts['bit_depth']} bits, {how}, "
        f"{facts['bytes']} bytes, {facts['bpp']:.3f} bpp"
    )
    if not verbose:
        return first
    framing = facts["bytes"] - facts["header_bytes"] - sum(facts["sections"].values())
    rows = [
        f"format version: {facts['format_version']}",
        *(_own(facts) if facts["foreign"] is None else _foreign(facts["foreign"])),
        *(["drawn: {blocks} of {in} blocks, {bytes} bytes, exact".format(**held)] if (held := facts["drawn"]) else []),
        f"header: {facts['header_bytes']} bytes",
        f"tags, lengths and CRCs of sections: {framing} bytes",
        *(f"section {name}: {size} bytes" for name, size in facts["sections"].items()),
        *(f"white in {name}: {bpp:g} bits a pixel" for name, bpp in facts.get("white_bpp", {}).items()),
        *(
            f"symbols of {name}: {bits / 8:.0f} bytes by their exact costs"
            for name, bits in facts.get("bits", {}).items()
        ),
    ]
    return "\n  ".join([first, *rows])


def _own(facts: dict[str, Any]) -> list[str]:
    if facts["quality"] is None:
        return ["base: none, all is drawn"]
    held = facts["references"]
    references = held and f"references: {', '.join(map(str, held['ids']))} of dictionary {held['dictionary']}, "
    return [
        f"base: {facts['base']}",
        *([f"{references}{held['bits']} bits"] if held else []),
        f"rate: {facts['rate']} of 65535",
        *([f"tune: {facts['tune']}"] if facts["tune"] else []),
        *(["recommends: {anchor} anchor, tau {tau:g}".format(**facts["hint"])] if facts["hint"] else []),
        *(f"refers to {line}" for line in facts.get("chain", [])),
        *([f"trust: {facts['trust']}.., how far they are believed"] if facts["trust"] else []),
        *(["quality map: a level for each block of 64x64 pixels"] if facts["quality_map"] else []),
        "entropy path: integer, the same symbols on every machine",
    ]


def _foreign(foreign: dict[str, str | None]) -> list[str]:
    if foreign["weights"] is None:
        return [f"base: {foreign['name']}, the file as it was"]
    return [
        f"base: {foreign['name']}, weights {foreign['weights']}",
        "entropy path: float, not promised to decode on another machine",
    ]
