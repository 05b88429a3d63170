"""What a .nic file says of itself, without any network."""

from __future__ import annotations

from typing import Any

from nicodec.container.drawn import blocks, count_drawn
from nicodec.container.layout import Colour, SectionType
from nicodec.container.payloads import read_foreign, read_references, read_tokens
from nicodec.container.reader import NicFile
from nicodec.container.references import Reference, read_aligned, trust_of
from nicodec.container.writer import write_header
from nicodec.rate.scale import quality_from_rate


def describe(file: NicFile) -> dict[str, Any]:
    """A JSON-ready description.

    Keys: `format_version`, `width`, `height`, `colour` (`grey` or `rgb`), `alpha`, `bit_depth`, `bytes`, `bpp` (bits
    of the whole file per pixel), `quality` (null where all is drawn, or a
    JPEG, and so exact), `rate`, `tune` (`eye` or `psnr`;
    null where the base has one), `quality_map` (whether the quality differs from block to block), `base` (id in hex),
    `hint` (`anchor` and `tau`, or null),
    `foreign` (the other codec's `name` and its `weights` in hex, which are null for a JPEG; or null),
    `references` (`dictionary` id in hex, `ids`, `bits` that they take without the section around them; or null),
    `refers_to` (of each picture that it takes to decode this one: `id` in hex, `name` of a file, or `index` in a
    dictionary; null where there are none),
    `trust` (of the part that tells how far these are trusted: how its id begins, in hex; or null),
    `tokens` (`vq` or `texture` id in hex, `prior` `static` or `sq`, `bits` a token; or null),
    `drawn` (`blocks` that are kept exactly, of how many `in`, and the `bytes` of them; or null),
    `header_bytes`, `sections` (bytes of each payload by name).
    """
    header = file.header
    tokens, foreign, references = read_tokens(file), read_foreign(file), read_references(file)
    sections = {kind.name.lower(): len(section.payload) for kind, section in file.sections.items()}
    drawn, trust = file.payload(SectionType.DRAWN), trust_of(file)
    exact = file.holds_jpeg or (drawn is not None and not file.streams)
    hint = header.hint and {"anchor": header.hint.anchor.name.lower(), "tau": header.hint.tau_percent / 100}
    return {
        "format_version": header.version,
        "width": header.width,
        "height": header.height,
        "colour": "grey" if header.colour is Colour.GREY else "rgb",
        "alpha": SectionType.ALPHA in file.sections,
        "bit_depth": header.bit_depth,
        "bytes": file.size,
        "bpp": round(8 * file.size / (header.width * header.height), 4),
        "quality": None if exact else round(quality_from_rate(header.rate), 2),
        "rate": header.rate,
        "tune": None if header.tune is None else header.tune.name.lower(),
        "quality_map": header.mapped,
        "base": header.base_id.hex(),
        "hint": hint,
        "foreign": foreign and {"name": foreign.name, "weights": None if file.holds_jpeg else foreign.weights_id.hex()},
        "references": references
        and {
            "dictionary": references.dictionary_id.hex(),
            "ids": list(references.ids),
            "bits": len(references.ids) * references.id_bits,
        },
        "refers_to": [_named(reference) for reference in read_aligned(file)] or None,
        "trust": trust and trust.hex(),
        "tokens": tokens
        and {tokens.kind: tokens.part_id.hex(), "prior": tokens.prior.name.lower(), "bits": tokens.depth},
        "drawn": None
        if drawn is None
        else {"blocks": count_drawn(drawn, header), "in": blocks(header), "bytes": len(drawn)},
        "header_bytes": len(write_header(header)),
        "sections": sections,
    }


def _named(reference: Reference) -> dict[str, Any]:
    where = {"index": reference.index} if reference.name is None else {"name": reference.name}
    return {"id": reference.id.hex(), **where}
