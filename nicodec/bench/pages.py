"""A report as Markdown and as one self-contained HTML page."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nicodec.bench.run import CROPPED_PICTURES, Source, crop_file

COLUMNS = ("bpp", "psnr", "psnr_y", "ms_ssim", "lpips", "dists", "kid", "frechet", "encode_s", "decode_s", "peak_mb")
DIGITS = {"bpp": 4, "psnr": 2, "psnr_y": 2, "ms_ssim": 4, "lpips": 4, "dists": 4, "kid": 5, "frechet": 3,
          "encode_s": 3, "decode_s": 3, "peak_mb": 0}  # fmt: skip
CROP_RATES = (0.15, 0.35, 0.75)


def _difference(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    return "no overlap" if row["bd_rate"] is None else f"{row['bd_rate']:+.1f} %"


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def tables(report: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """(title, head, rows) of every table: differences for each anchor, then the means."""
    names = list(dict.fromkeys(row["codec"] for row in report["summary"]))
    metrics = list(dict.fromkeys(row["metric"] for row in report["differences"]))
    found = {(row["anchor"], row["test"], row["metric"]): row for row in report["differences"]}
    result = []
    for anchor in names:
        rows = []
        for test in names:
            if test == anchor:
                continue
            cells = [found.get((anchor, test, metric)) for metric in metrics]
            texts = [
                "-" if c is None else "no overlap" if c["bd_rate"] is None else f"{c['bd_rate']:+.1f} %" for c in cells
            ]
            gain = next((c["bd_psnr"] for c in cells if c is not None and c["bd_psnr"] is not None), None)
            rows.append([test, *texts, "-" if gain is None else f"{gain:+.2f} dB"])
        result.append((f"BD-rate against {anchor}", ["codec", *metrics, "BD-PSNR"], rows))
    body = [
        [row["codec"], f"{row['setting']:g}", *(_cell(row[key], DIGITS[key]) for key in COLUMNS)]
        for row in report["summary"]
    ]
    result.append(("Means over the set", ["codec", "setting", *COLUMNS], body))
    return result


def notes(report: dict[str, Any]) -> list[str]:
    """What a reader must know of how the figures came about."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    lines = [
        f"{len(report['pictures'])} pictures; bits are bytes on disk; metrics are means over the pictures.",
        "PSNR: peak 255, RGB and BT.601 luma. MS-SSIM: data range 255 (differences and plots in dB).",
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
    for title, head, rows in tables(report):
        lines += ["", f"## {title}", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto }
td, th { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid #8884 }
td:first-child, th:first-child { text-align: left }
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
    for title, head, rows in tables(report):
        parts.append(f"<h2>{html.escape(title)}</h2><table><tr>" + "".join(f"<th>{html.escape(h)}" for h in head))
        parts += ["<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in row) for row in rows]
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
