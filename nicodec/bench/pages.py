"""A report as Markdown and as one self-contained HTML page."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nicodec.bench.measures import ASKS, MEASURES
from nicodec.bench.run import CROPPED_PICTURES, Source, crop_file

SETTINGS = "version and settings"
COSTS = {"encode_s": 3, "decode_s": 3, "peak_mb": 0}  # column: digits
CROP_RATES = (0.15, 0.35, 0.75)


def _difference(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    return "no overlap" if row["bd_rate"] is None else f"{row['bd_rate']:+.1f} %"


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _gain(row: dict[str, Any] | None) -> str:
    return "-" if row is None or row["bd_psnr"] is None else f"{row['bd_psnr']:+.2f} dB"


@dataclass(frozen=True)
class Table:
    """A title, a sentence on what the figures ask for, a head, and rows whose last cell is version and settings."""

    title: str
    sentence: str
    head: list[str]
    rows: list[list[str]]


def tables(report: dict[str, Any]) -> list[Table]:
    """Differences for each anchor, then the means; what asks for fidelity and for naturalness stands apart."""
    parts = [(asks, metrics) for asks in ASKS if (metrics := _measured(report, asks))]
    result = [_differences(report, anchor, *part) for anchor in report["encoders"] for part in parts]
    result += [_means(report, asks, {key: MEASURES[key].digits for key in metrics}) for asks, metrics in parts]
    costs = "seconds a picture in a warm process; the largest resident memory of that process in MB of 2^20 bytes."
    return [*result, _means(report, "Time and memory", COSTS, costs)]


def _measured(report: dict[str, Any], asks: str) -> list[str]:
    """The metrics of one kind that any codec was measured with."""
    kind = [metric for metric, measure in MEASURES.items() if measure.asks == asks]
    return [metric for metric in kind if any(row[metric] is not None for row in report["summary"])]


def _differences(report: dict[str, Any], anchor: str, asks: str, metrics: list[str]) -> Table:
    found = {(row["test"], row["metric"]): row for row in report["differences"] if row["anchor"] == anchor}
    head, rows = ["codec", *metrics], []
    for test, encoder in report["encoders"].items():
        if test != anchor:
            row = [test, *(_difference(found.get((test, metric))) for metric in metrics)]
            rows.append([*row, *([_gain(found.get((test, "psnr")))] if "psnr" in metrics else []), encoder])
    head += [*(["BD-PSNR"] if "psnr" in metrics else []), SETTINGS]
    bits = f"Bits against {anchor} ({report['encoders'][anchor]}), negative where a codec takes fewer."
    return Table(f"{asks}: BD-rate against {anchor}", f"{asks}: {ASKS[asks]} {bits}", head, rows)


def _means(report: dict[str, Any], title: str, columns: dict[str, int], sentence: str = "") -> Table:
    rows = [
        [row["codec"], f"{row['setting']:g}", _cell(row["bpp"], 4),
         *(_cell(row[key], digits) for key, digits in columns.items()), report["encoders"][row["codec"]]]
        for row in report["summary"]
    ]  # fmt: skip
    head = ["codec", "setting", "bpp", *columns, SETTINGS]
    return Table(f"{title}: means over the set", f"{title}: {sentence or ASKS[title]}", head, rows)


def _pictures(report: dict[str, Any]) -> str:
    count, named = len(report["pictures"]), report["set"]
    return f"{count} of the {named['listed']} pictures of {named['name']}" if named else f"{count} pictures"


def notes(report: dict[str, Any]) -> list[str]:
    """What a reader must know of how the figures came about."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    lines = [
        f"{_pictures(report)}; bits are bytes on disk; metrics are means over the pictures.",
        "PSNR: peak 255, RGB and BT.601 luma. MS-SSIM: data range 255 (differences and plots in dB).",
        "SSIMULACRA2: the package of that name, on sRGB; CVVDP: JOD on its standard_4k display; "
        "butteraugli: 3-norm at 80 cd/m^2.",
        "LPIPS: version 0.1, AlexNet, pictures scaled to -1..1.",
        f"Patch KID and Frechet: mean conv5 features of AlexNet over the {report['patch_count']} patches of "
        f"{report['patch']}x{report['patch']} pixels of the whole set.",
        "BD-rate: `bjontegaard`, Akima interpolation of the mean curves, over the range of quality that both cover.",
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, "
        f"{machine['system']}; Python {machine['python']}, {versions}.",
        f"Command: `{' '.join(report['command'])}`",
    ]
    lines += [f"Not measured: {name}: {why}." for name, why in report["missing"].items()]
    lines += [f"Skipped: {name}: {why}." for name, why in report["skipped"].items()]
    return lines


def markdown(report: dict[str, Any], plots: dict[str, Path]) -> str:
    """The report as Markdown, plots by relative path."""
    lines = ["# Benchmark", "", *(f"- {note}" for note in notes(report)), ""]
    lines += [f"![{name}](plots/{path.name})" for name, path in plots.items()]
    for table in tables(report):
        lines += ["", f"## {table.title}", "", table.sentence, ""]
        lines += ["| " + " | ".join(table.head) + " |", "|" + "---|" * len(table.head)]
        lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    return "\n".join(lines) + "\n"


STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto }
td, th { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid #8884 }
td:first-child, th:first-child, td:last-child, th:last-child { text-align: left }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(22rem, 1fr)); gap: 1rem }
.plots img { width: 100% }
.crops { display: flex; gap: .6rem; overflow-x: auto } figure { margin: 0 } figcaption { font-size: 12px }
"""


def page(report: dict[str, Any], plots: dict[str, Path], folder: Path, sources: Sequence[Source]) -> str:
    """The report as one HTML file: tables, plots and crops at about equal rates inside it."""
    parts = ["<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"]
    parts.append(f"<title>nicodec benchmark</title><style>{STYLE}</style><h1>Benchmark</h1><ul>")
    parts += [f"<li>{html.escape(note)}" for note in notes(report)]
    parts.append("</ul><div class=plots>")
    parts += [f"<img alt='{name}' src='{_inline(path)}'>" for name, path in plots.items()]
    parts.append("</div>")
    parts += _crops(report, folder, sources)
    for table in tables(report):
        parts.append(f"<h2>{html.escape(table.title)}</h2><p>{html.escape(table.sentence)}</p><table>")
        parts.append("<tr>" + "".join(f"<th>{html.escape(head)}" for head in table.head))
        parts += ["<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in row) for row in table.rows]
        parts.append("</table>")
    return "\n".join(parts)


def _crops(report: dict[str, Any], folder: Path, sources: Sequence[Source]) -> list[str]:
    """For a few pictures and rates: each codec's crop at the setting that comes closest in bytes."""
    parts = ["<h2>Crops at about equal bytes</h2>"]
    names = list(dict.fromkeys(row["codec"] for row in report["summary"]))
    for source in sources[:CROPPED_PICTURES]:
        for rate in CROP_RATES:
            parts.append(f"<h3>{html.escape(source.name)}, about {rate:g} bpp</h3><div class=crops>")
            original = folder / "crops" / f"original-{source.key}.png"
            parts.append(f"<figure><img src='{_inline(original)}'><figcaption>original</figcaption></figure>")
            for name in names:
                rows = [r for r in report["measurements"] if (r["codec"], r["key"]) == (name, source.key)]
                best = min(rows, key=lambda row: abs(row["bpp"] - rate))
                image = _inline(crop_file(folder, name, best["setting"], source))
                caption = (
                    f"{name} {best['setting']:g}: {best['bytes']} bytes, {best['bpp']:.3f} bpp, {best['psnr']:.2f} dB"
                )
                parts.append(f"<figure><img src='{image}'><figcaption>{html.escape(caption)}</figcaption></figure>")
            parts.append("</div>")
    return parts


def _inline(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
