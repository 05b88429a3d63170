"""Rate-distortion and rate-perception plots, by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from nicodec.bench.curves import scale
from nicodec.bench.measures import MEASURES
from nicodec.bench.summary import curve


def draw(report: dict[str, Any], folder: Path) -> dict[str, Path]:
    """One plot a metric that was measured, and the tau plane (PSNR against LPIPS): name to PNG."""
    names = list(dict.fromkeys(row["codec"] for row in report["summary"]))
    drawn = {}
    for metric, measure in MEASURES.items():
        curves = {name: curve(report["summary"], name, metric) for name in names}
        if not any(curves.values()):
            continue
        figure, axes = plt.subplots(figsize=(7, 4.6))
        for name, points in curves.items():
            if points is not None:
                values = scale(metric, points.value) if metric == "ms_ssim" else points.value
                width = 2.2 if name.startswith("nicodec") else 1.2
                axes.plot(points.bpp, values, marker="o", markersize=3, label=name, linewidth=width)
        _published(axes, report["published"], metric)
        label = "MS-SSIM, dB" if metric == "ms_ssim" else measure.label
        axes.set(xlabel="bits per pixel (bytes on disk)", ylabel=label, xlim=(0, 2.2))
        drawn[metric] = _save(figure, axes, folder / f"{metric}.png")
    if all(row["lpips"] is not None for row in report["summary"]):
        drawn["plane"] = _plane(report["summary"], names, folder / "plane.png")
    return drawn


def _published(axes: Any, published: dict[str, Any], metric: str) -> None:
    for name, points in published.items():
        if metric in points:
            values = scale(metric, points[metric]) if metric == "ms_ssim" else points[metric]
            pairs = sorted(zip(points["bpp"], values, strict=True))
            axes.plot(*zip(*pairs, strict=True), linestyle="--", linewidth=0.9, label=f"{name} (published)")


def _plane(summary: Sequence[dict[str, Any]], names: Sequence[str], path: Path) -> Path:
    """Distortion against perception; variants of one file (tau) would lie on one line here."""
    figure, axes = plt.subplots(figsize=(7, 4.6))
    for name in names:
        rows = sorted((row for row in summary if row["codec"] == name), key=lambda row: row["bpp"])
        axes.plot([row["psnr"] for row in rows], [row["lpips"] for row in rows], marker="o", markersize=3, label=name)
        for row in rows:
            axes.annotate(f"{row['bpp']:.2f}", (row["psnr"], row["lpips"]), fontsize=5)
    axes.set(xlabel=MEASURES["psnr"].label, ylabel=MEASURES["lpips"].label)
    return _save(figure, axes, path)


def _save(figure: Any, axes: Any, path: Path) -> Path:
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)
    return path
