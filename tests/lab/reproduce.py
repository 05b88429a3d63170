"""Make every figure, plot and crop of README.md and of a model's card again, from the weights as they are shipped.

python tests/lab/reproduce.py KODAK ALEXNET [--model NAME] [--work FOLDER] [--only CODEC]...

KODAK is a folder with the 24 pictures (nicodec/bench/manifests), ALEXNET torchvision's weights. A run that was
stopped goes on where it was. With --only, the others' figures stay as they were. What comes of it lies in
models/NAME/results, and from there in regions of the pages, between `<!-- figures: NAME KIND -->`, with a KIND of
`KINDS`, and `<!-- end of figures -->`. A test fills these regions again and finds nothing to change, so nobody types
a figure.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import nicodec
from nicodec.bench.measures import MEASURES
from nicodec.bench.plots import draw
from nicodec.bench.summary import differences, to_json
from nicodec.image.files import read_picture, to_pillow
from nicodec.look.rivals import rival
from nicodec.options import DEFAULT_MODEL
from nicodec.zoo.store import find_package

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
REPORT = "bench.json"  # as nicodec/bench/REPORT.md says, without
LEFT_OUT = ("measurements", "pictures", "command")  # single pictures, and what names folders of the one who measures
REGION = re.compile(r"(<!-- figures: (.*?) -->\n)(.*?)(<!-- end of figures -->)", re.S)

RIVALS = {
    "jpeg": "JPEG", "webp": "WebP", "jxl": "JPEG XL", "avif": "AVIF", "avif:tune=psnr": "AVIF for PSNR",
}  # fmt: skip
PLAIN, TUNED, NATURAL = OURS = ("nicodec", "nicodec:tune=psnr:sq", "nicodec:perception:tau=0.7")
COLUMNS = (
    ("PSNR", TUNED, "psnr"), ("SSIMULACRA2", PLAIN, "ssimulacra2"), ("CVVDP", PLAIN, "cvvdp"),
    ("LPIPS", NATURAL, "lpips"), ("patch KID", NATURAL, "kid"),
)  # fmt: skip
PLOTS = ("psnr", "ssimulacra2", "lpips", "kid")

STRIPS = {  # of crops: the quality, so low that it shows, and (left, top) of each
    "crops": (18, {"kodim01.png": (330, 200), "kodim08.png": (200, 150), "kodim23.png": (130, 60)}),
    "fails": (10, {"kodim05.png": (100, 150), "kodim15.png": (540, 60), "kodim24.png": (480, 260)}),
}
SIDE, LABEL = 224, 18  # pixels of a crop, and of the line above it
WAYS = (("fidelity", 0.0), ("perception", 0.5), ("perception", 1.0))

Report = dict[str, Any]


def measure(
    model: str, pictures: Sequence[str | Path], trunk: Path, work: Path, only: Sequence[str] | None = None
) -> None:
    """`nicodec bench` on pictures, or a folder and the option that names its set: a report in `work`."""
    codecs = [f"{name}@{model}" if name in OURS else name for name in only or (*OURS, *RIVALS)]
    options = ["-o", work, "--trunk", trunk, *(word for name in codecs for word in ("--codec", name))]
    subprocess.run([sys.executable, "-m", "nicodec", "bench", *pictures, *options], cwd=ROOT, check=True)


def keep(work: Path, results: Path) -> None:
    """Of the report in `work`, what is committed; what it does not have of others stays."""
    results.mkdir(exist_ok=True)
    report = json.loads((work / "report.json").read_text(encoding="utf-8"))
    kept = {key: value for key, value in report.items() if key not in LEFT_OUT}
    if (results / REPORT).is_file():
        kept = merged(json.loads((results / REPORT).read_text(encoding="utf-8")), kept)
    (results / REPORT).write_text(to_json(kept), encoding="utf-8")
    drawn = draw(kept, work / "plots")
    for name in PLOTS:
        shutil.copy(drawn[name], results)


def merged(before: Report, found: Report) -> Report:
    """A report of all codecs that either has, on the same pictures: as `found` has them, and else as they were."""
    encoders = {**before["encoders"], **found["encoders"]}
    old = [row for row in before["summary"] if row["codec"] not in found["encoders"]]
    summary = [row for name in encoders for row in (*old, *found["summary"]) if row["codec"] == name]
    return {**found, "encoders": encoders, "summary": summary, "differences": differences(summary, list(encoders))}


def strip(model: str, folder: Path, name: str) -> Image.Image:
    """One of STRIPS, a row a picture: the original, AVIF of as many bytes, and one file of ours decoded in WAYS."""
    quality, places = STRIPS[name]
    whole = Image.new("RGB", ((2 + len(WAYS)) * SIDE, len(places) * (SIDE + LABEL)), "white")
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(12)
    for row, (file, (left, top)) in enumerate(places.items()):
        original = to_pillow(read_picture((folder / file).read_bytes())).convert("RGB")
        data = nicodec.encode(original, quality=quality, model=model)
        other = rival("avif", np.asarray(original), len(data))
        shown = {"original": original, f"AVIF, {other.size} bytes": Image.fromarray(other.pixels)}
        for anchor, tau in WAYS:
            shown[f"{anchor}, tau {tau:g}, {len(data)} bytes"] = nicodec.decode(data, anchor=anchor, tau=tau)
        for column, (label, picture) in enumerate(shown.items()):
            x, y = column * SIDE, row * (SIDE + LABEL)
            draw.text((x + 3, y + 2), label, "black", font)
            whole.paste(picture.crop((left, top, left + SIDE, top + SIDE)), (x, y + LABEL))
    return whole


def pages() -> list[Path]:
    """Every page that may have regions."""
    return [ROOT / "README.md", *sorted(MODELS.glob("*/card.md"))]


def filled(page: Path, models: Path = MODELS) -> str:
    """A page's text, with each region as the results in `models` have it."""

    def region(found: re.Match[str]) -> str:
        head, words, _, end = found.groups()
        model, kind, *which = words.split()
        results = models / model / "results"
        if not (results / REPORT).is_file():
            return f"{head}(Not measured yet. What is known of {model}: models/{model}/history.md.)\n{end}"
        report = json.loads((results / REPORT).read_text(encoding="utf-8"))
        link = Path(os.path.relpath(results, page.parent)).as_posix()
        return f"{head}{KINDS[kind](report, link, *which)}\n{end}"

    return REGION.sub(region, page.read_text(encoding="utf-8"))


def bits(report: Report, link: str) -> str:
    """A table: bits of ours against each rival's at equal quality, and seconds."""
    model = next(iter(report["encoders"])).partition("@")[2]
    found = {(row["anchor"], row["test"], row["metric"]): row["bd_rate"] for row in report["differences"]}
    lines = ["| against | " + " | ".join(head for head, *_ in COLUMNS) + " | encode, s | decode, s |"]
    lines.append("|---" * (len(COLUMNS) + 3) + "|")
    for name, title in RIVALS.items():
        if name in report["encoders"]:
            cells = (_percent(found.get((name, f"{ours}@{model}", metric))) for _, ours, metric in COLUMNS)
            lines.append(f"| {title} | {' | '.join(cells)} | {_seconds(report, name)} |")
    lines += [f"| `{ours}` itself |{' |' * len(COLUMNS)} {_seconds(report, f'{ours}@{model}')} |" for ours in OURS]
    return "\n".join([*lines, "", _measured(report, link)])


def encoders(report: Report, link: str) -> str:
    """A list of what was measured: version and settings."""
    return "\n".join(f"- {name}: {encoder}" for name, encoder in report["encoders"].items())


def plot(report: Report, link: str, metric: str) -> str:
    """The curves of one metric."""
    return f"![{MEASURES[metric].label} against bits per pixel]({link}/{metric}.png)"


def shown(report: Report, link: str, name: str) -> str:
    """One of STRIPS."""
    return f"![Original; AVIF of as many bytes; one file of ours at tau 0, 0.5 and 1]({link}/{name}.webp)"


KINDS: dict[str, Callable[..., str]] = {"bits": bits, "encoders": encoders, "plot": plot, "strip": shown}


def _measured(report: Report, link: str) -> str:
    machine = report["machine"]
    named = f" of {report['set']['name']}" if report["set"] else ""
    absent = "".join(f" Not measured: {name} ({why})." for name, why in report["missing"].items())
    return (
        f"{report['summary'][0]['pictures']} pictures{named}, bytes on disk, BD-rate over the range that both codecs "
        f"cover; seconds a picture in a warm process, {machine['cores']} cores of {machine['processor']}. "
        f"[{REPORT}]({link}/{REPORT}) has versions, settings and all points.{absent}"
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.0f} %"


def _seconds(report: Report, name: str) -> str:
    rows = [row for row in report["summary"] if row["codec"] == name]
    return " | ".join(f"{statistics.mean(row[key] for row in rows):.2f}" for key in ("encode_s", "decode_s"))


def main() -> None:
    """Measure, keep, and fill the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kodak", type=Path)
    parser.add_argument("alexnet", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--work", type=Path, default=Path("reproduced"), help="folder of the whole report")
    parser.add_argument("--only", action="append", choices=(*OURS, *RIVALS), help="codecs to measure; default: all")
    given = parser.parse_args()
    results, work = find_package(given.model).folder / "results", given.work.resolve() / given.model
    measure(given.model, [given.kodak.resolve(), "--set", "kodak"], given.alexnet.resolve(), work, given.only)
    keep(work, results)
    for name in STRIPS:
        strip(given.model, given.kodak, name).save(results / f"{name}.webp", quality=90)
    for page in pages():
        page.write_text(filled(page), encoding="utf-8")


if __name__ == "__main__":
    main()
