"""From measurements to a report's figures: means over the set, distances between sets, Bjontegaard differences."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np

from nicodec import __version__
from nicodec.bench.curves import METHOD, Curve, bd_psnr, bd_rate, overlap, scale
from nicodec.bench.measures import MEASURES, OF_PICTURES, OF_SETS
from nicodec.bench.run import Bench, Source
from nicodec.bench.sets import PictureSet
from nicodec.metrics.perceptual import KID_PATCH, frechet_distance, kernel_distance

SCHEMA = 1
MEANS = ("bpp", *OF_PICTURES, "encode_s", "decode_s")
PACKAGES = ("torch", "numpy", "pillow", "constriction", "compressai", "pytorch-msssim", "lpips",
            "ssimulacra2", "cvvdp", "piq", "bjontegaard")  # fmt: skip


def summarise(bench: Bench, names: Sequence[str], sources: Sequence[Source]) -> list[dict[str, Any]]:
    """A row for each codec and setting: means over the pictures, distances of the set, peak memory."""
    rows = bench.rows(names, sources)
    originals = None
    if bench.perception:
        originals = np.concatenate([bench.perception.features(np.asarray(source.image)) for source in sources])
    summary = []
    for name in names:
        for setting in sorted({row["setting"] for row in rows if row["codec"] == name}):
            chosen = [row for row in rows if (row["codec"], row["setting"]) == (name, setting)]
            entry: dict[str, Any] = {"codec": name, "setting": setting, "pictures": len(chosen)}
            for key in MEANS:
                values = [row[key] for row in chosen if row[key] is not None]
                entry[key] = float(np.mean(values)) if len(values) == len(chosen) else None
            peaks = [row["peak_mb"] for row in chosen if row["peak_mb"] is not None]
            entry["peak_mb"] = max(peaks, default=None)
            entry |= dict.fromkeys(OF_SETS)
            if originals is not None and len(originals) > 1:
                decoded = bench.features(name, setting, sources)
                entry["kid"] = kernel_distance(originals, decoded)
                entry["frechet"] = frechet_distance(originals, decoded)
            summary.append(entry)
    return summary


def curve(summary: Sequence[dict[str, Any]], name: str, metric: str) -> Curve | None:
    """One codec's curve on one metric, or None where it was not measured.

    Without the settings that have no place on a metric's axis: a picture kept exactly has an infinite PSNR.
    """
    rows = sorted((row for row in summary if row["codec"] == name), key=lambda row: row["bpp"])
    if any(row[metric] is None for row in rows):
        return None
    with np.errstate(divide="ignore"):
        rows = [row for row in rows if np.isfinite(scale(metric, [row[metric]])).all()]
    if not rows:
        return None
    return Curve([row["bpp"] for row in rows], [row[metric] for row in rows])


def differences(summary: Sequence[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Bjontegaard differences of every codec against every other, on every metric that both have.

    A row: `anchor`, `test`, `metric`, `bd_rate` (percent, or null for no overlap), `bd_psnr` (dB, for `psnr` only),
    `overlap` (share of the smaller range), `method`.
    """
    rows = []
    for anchor in names:
        for test in names:
            for metric in MEASURES:
                known, new = curve(summary, anchor, metric), curve(summary, test, metric)
                if anchor == test or known is None or new is None:
                    continue
                rows.append(
                    {
                        "anchor": anchor,
                        "test": test,
                        "metric": metric,
                        "bd_rate": bd_rate(metric, known, new),
                        "bd_psnr": bd_psnr(known, new) if metric == "psnr" else None,
                        "overlap": round(overlap(metric, known, new), 3),
                        "method": METHOD,
                    }
                )
    return rows


def machine() -> dict[str, Any]:
    """What the figures were measured on, and with which versions."""
    import torch

    model = platform.processor()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            model = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {"nicodec": __version__, **{name: _version(name) for name in PACKAGES}},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def report(bench: Bench, names: Sequence[str], sources: Sequence[Source], skipped: dict[str, str],
           absent: dict[str, str], published: dict[str, Any], named: PictureSet | None) -> dict[str, Any]:  # fmt: skip
    """The whole report as one JSON-ready object; REPORT.md beside this documents every key."""
    summary = summarise(bench, names, sources)
    return {
        "schema": SCHEMA,
        "command": ["nicodec", *sys.argv[1:]],
        "machine": machine(),
        "patch": KID_PATCH,
        "patch_count": sum((s.image.width // KID_PATCH) * (s.image.height // KID_PATCH) for s in sources),
        "set": named.as_json() if named else None,
        "pictures": [{"name": s.name, "key": s.key, "width": s.image.width, "height": s.image.height} for s in sources],
        "skipped": skipped,
        "missing": absent,
        "encoders": {name: bench.encoders[name] for name in names},
        "measurements": bench.rows(names, sources),
        "summary": summary,
        "differences": differences(summary, names),
        "published": published,
    }


def to_json(value: Any) -> str:
    """As JSON, which has no infinite numbers: they become null."""
    return json.dumps(_finite(value), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of one shape as CSV."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
