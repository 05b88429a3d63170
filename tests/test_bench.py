"""Metrics against known values and independent computations; the report end to end."""

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pictures
import pytest
import torch
from PIL import Image, features
from scipy.integrate import trapezoid
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator
from scipy.ndimage import gaussian_filter1d

import nicodec as api
from nicodec import errors
from nicodec.bench import sets
from nicodec.bench.codecs import make
from nicodec.bench.curves import Curve, bd_psnr, bd_rate, overlap
from nicodec.bench.measures import MEASURES, comparisons
from nicodec.bench.summary import curve, to_json
from nicodec.image.files import read_picture
from nicodec.metrics.perceptual import Perception, frechet_distance, kernel_distance
from nicodec.metrics.psnr import psnr, psnr_y
from nicodec.metrics.structure import ms_ssim
from nicodec.metrics.visible import BUTTERAUGLI, Cvvdp, butteraugli, ssimulacra2
from nicodec.zoo.store import find_package

SCHEMA = Path(errors.__file__).parent / "bench" / "REPORT.md"
BLACK = np.zeros((8, 8, 3), np.uint8)


def test_psnr_of_known_errors():
    assert psnr(BLACK, BLACK) == float("inf")
    assert psnr(BLACK, BLACK + 1) == pytest.approx(48.1308, abs=1e-4)
    assert psnr(BLACK, BLACK + 255) == 0
    green = BLACK.copy()
    green[..., 1] = 10
    assert psnr(BLACK, green) == pytest.approx(20 * np.log10(255 / 10) + 10 * np.log10(3))
    assert psnr_y(BLACK, green) == pytest.approx(20 * np.log10(255 / 5.87))


def independent_ms_ssim(a, b):
    """Wang et al. 2003, per channel, in numpy and scipy: valid windows of 11, sigma 1.5, weights of the paper."""

    def blur(x):
        for axis in (0, 1):
            x = gaussian_filter1d(x, 1.5, axis=axis, truncate=5 / 1.5, mode="constant")
        return x[5:-5, 5:-5]

    values = []
    for channel in range(3):
        x, y = a[..., channel].astype(float), b[..., channel].astype(float)
        product = 1.0
        weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
        for level, weight in enumerate(weights):
            mx, my = blur(x), blur(y)
            vx, vy, vxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
            structure = (2 * vxy + 58.5225) / (vx + vy + 58.5225)
            luminance = (2 * mx * my + 6.5025) / (mx**2 + my**2 + 6.5025)
            last = level == len(weights) - 1
            product *= ((luminance * structure).mean() if last else structure.mean()) ** weight
            halves = [slice(0, size // 2 * 2) for size in x.shape]
            x, y = (
                z[halves[0], halves[1]].reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2).mean((1, 3)) for z in (x, y)
            )
        values.append(product)
    return float(np.mean(values))


def test_ms_ssim_against_an_independent_computation():
    a = pictures.scene(192, 176 + 16)
    b = np.clip(a.astype(int) + (np.arange(192) % 7 - 3)[:, None] * 4, 0, 255).astype(np.uint8)
    assert ms_ssim(a, a) == pytest.approx(1)
    assert ms_ssim(a, b) == pytest.approx(independent_ms_ssim(a, b), abs=2e-4)
    assert ms_ssim(a[:160], b[:160]) is None


def by_jpeg(pixels, quality):
    """As decoded from a JPEG file."""
    codec = make("jpeg")
    return np.asarray(codec.decode(codec.encode(Image.fromarray(pixels), quality)))


def test_ssimulacra2_is_that_of_files(tmp_path):
    """The package's own way is by files, the original first; what it returns depends on which is first."""
    from ssimulacra2 import compute_ssimulacra2

    a = pictures.scene(96, 120)
    b = by_jpeg(a, 30)
    for name, pixels in (("a", a), ("b", b)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    files = tmp_path / "a.png", tmp_path / "b.png"
    assert ssimulacra2(a, b) == pytest.approx(compute_ssimulacra2(*files), abs=1e-9)
    assert abs(ssimulacra2(a, b) - compute_ssimulacra2(*files[::-1])) > 1e-3
    assert ssimulacra2(a, a) == 100
    assert ssimulacra2(a, by_jpeg(a, 5)) < ssimulacra2(a, b) < ssimulacra2(a, by_jpeg(a, 90)) < 100
    assert ssimulacra2(a[:7], 255 - a[:7]) is None


def test_cvvdp_falls_from_ten():
    pytest.importorskip("pycvvdp")
    metric, a = Cvvdp(), pictures.scene(96, 120)
    assert metric.quality(a, a) == pytest.approx(10)
    assert metric.quality(a, by_jpeg(a, 5)) < metric.quality(a, by_jpeg(a, 30)) < metric.quality(a, by_jpeg(a, 90)) < 10


@pytest.mark.skipif(not shutil.which(BUTTERAUGLI), reason="libjxl's tools are not here")
def test_butteraugli_is_that_of_files(tmp_path):
    """What the program says of PNGs, the original first; which is first matters."""
    a = pictures.scene(96, 120)
    b = by_jpeg(a, 30)
    for name, pixels in (("a", a), ("b", b)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    said = subprocess.run([BUTTERAUGLI, "a.png", "b.png"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"3-norm: {butteraugli(a, b):.6f}" in said.stdout
    assert abs(butteraugli(a, b) - butteraugli(b, a)) > 1e-3
    assert butteraugli(a, a) == 0
    assert butteraugli(a, by_jpeg(a, 5)) > butteraugli(a, b) > butteraugli(a, by_jpeg(a, 90)) > 0


def test_a_metric_without_its_program_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    found, absent = comparisons(None)
    assert "butteraugli" not in found
    assert absent["butteraugli"] == "butteraugli_main, one of libjxl's tools, is not installed"


@pytest.mark.parametrize("package", ["ssimulacra2", "pycvvdp"])
def test_a_metric_without_its_package_says_what_to_install(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    found, absent = comparisons(None)
    name = {"ssimulacra2": "ssimulacra2", "pycvvdp": "cvvdp"}[package]
    assert name not in found
    assert absent[name.upper()] == f"pip install {name}, which is part of nicodec[bench]"
    assert {"psnr", "psnr_y", "ms_ssim"} <= set(found)


def test_lpips_against_the_lpips_package(trunk):
    import lpips

    with warnings.catch_warnings(action="ignore"):
        reference = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    state = torch.load(trunk, weights_only=True)
    theirs = dict(reference.net.named_parameters())
    for name, value in state.items():
        layer = name.removeprefix("features.")
        (match,) = [key for key in theirs if key.split(".", 1)[1] == layer]
        theirs[match].data.copy_(value)
    a, b = pictures.scene(96, 80), pictures.scene(96, 80)[::-1].copy()
    x, y = (torch.from_numpy(p).permute(2, 0, 1)[None] / 127.5 - 1 for p in (a, b))
    perception = Perception(trunk)
    assert perception.distance(a, b) == pytest.approx(reference(x, y).item(), rel=1e-5)
    assert perception.distance(a, b) > 0
    assert perception.distance(a, a) == 0
    assert perception.features(pictures.scene(130, 200)).shape == (6, 256)


def test_distances_of_known_distributions():
    random = np.random.RandomState(0)
    a, b = (random.normal(size=(4000, 3)).astype(np.float32) for _ in range(2))
    assert abs(kernel_distance(a, b)) < 0.02
    assert frechet_distance(a, b) == pytest.approx(0, abs=0.01)
    shifted = 2 * b + [1, 0, 0]
    assert frechet_distance(a, shifted) == pytest.approx(1 + 3, rel=0.05)  # |mean|^2 + sum (2-1)^2
    assert kernel_distance(a, shifted) > 1


ANCHOR = Curve([0.1, 0.2, 0.4, 0.8, 1.6], [27.0, 29.5, 32.2, 35.1, 38.2])


def test_bd_rate_of_known_differences():
    smaller = Curve([0.8 * rate for rate in ANCHOR.bpp], ANCHOR.value)
    better = Curve(ANCHOR.bpp, [value + 0.5 for value in ANCHOR.value])
    assert bd_rate("psnr", ANCHOR, ANCHOR) == pytest.approx(0, abs=1e-9)
    assert bd_rate("psnr", ANCHOR, smaller) == pytest.approx(-20, abs=0.01)
    assert bd_psnr(ANCHOR, better) == pytest.approx(0.5, abs=0.01)
    distances = Curve(ANCHOR.bpp, [1 / value for value in ANCHOR.value])
    shrunk = Curve(smaller.bpp, distances.value)
    assert bd_rate("lpips", distances, shrunk) == pytest.approx(-20, abs=0.01)


def test_bd_rate_against_an_independent_computation():
    test = Curve([0.09, 0.21, 0.37, 0.85, 1.5], [27.2, 30.1, 32.6, 35.9, 38.3])
    (ra, qa), (rt, qt) = ((np.log(c.bpp), np.array(c.value)) for c in (ANCHOR, test))
    low, high = max(qa.min(), qt.min()), min(qa.max(), qt.max())
    q = np.linspace(low, high, 20001)
    gap = trapezoid(PchipInterpolator(qt, rt)(q) - PchipInterpolator(qa, ra)(q), q) / (high - low)
    independent = 100 * (np.exp(gap) - 1)
    # Akima and PCHIP draw slightly different curves; the sharper check of the integration is the one above.
    assert bd_rate("psnr", ANCHOR, test) == pytest.approx(independent, abs=0.1)


REALISTIC = {  # a metric's values for a rising rate, and where its differences are taken, higher is better
    "ssimulacra2": ([-12.0, 31.0, 55.5, 71.0, 84.2], lambda value: value),
    "cvvdp": ([7.9, 8.9, 9.4, 9.7, 9.88], lambda value: value),
    "ms_ssim": ([0.89, 0.95, 0.979, 0.991, 0.9965], lambda value: -10 * np.log10(1 - value)),
    "lpips": ([0.43, 0.31, 0.19, 0.09, 0.03], lambda value: -value),
    "kid": ([0.21, 0.12, 0.05, 0.012, 0.0007], lambda value: -value),
}


@pytest.mark.parametrize("metric", REALISTIC)
def test_bd_rate_of_each_metric_against_an_independent_computation(metric):
    """The mean distance of two Akima curves of log rate over the shared quality, by a fine sum."""
    values, axis = REALISTIC[metric]
    anchor = Curve(ANCHOR.bpp, values)
    test = Curve([0.08, 0.17, 0.37, 0.66, 1.5], [values[0], *np.diff(values) * 0.07 + values[1:]])
    (ra, qa), (rt, qt) = ((np.log(c.bpp), axis(np.array(c.value))) for c in (anchor, test))
    q = np.linspace(max(qa.min(), qt.min()), min(qa.max(), qt.max()), 100001)
    gap = trapezoid(Akima1DInterpolator(qt, rt)(q) - Akima1DInterpolator(qa, ra)(q), q) / np.ptp(q)
    assert bd_rate(metric, anchor, test) == pytest.approx(100 * (np.exp(gap) - 1), abs=0.1)
    assert bd_rate(metric, anchor, test) < -5
    assert set(REALISTIC) < set(MEASURES)


def test_a_setting_without_loss_is_no_point_of_a_curve():
    """Its PSNR is infinite, and so is its MS-SSIM in dB."""
    points = zip(ANCHOR.bpp, ANCHOR.value, REALISTIC["ms_ssim"][0], strict=True)
    lossy = [{"codec": "a", "bpp": bpp, "psnr": value, "ms_ssim": ssim} for bpp, value, ssim in points]
    rows = [*lossy, {"codec": "a", "bpp": 12.0, "psnr": float("inf"), "ms_ssim": 1.0}]
    assert curve(rows, "a", "psnr") == ANCHOR
    assert curve(rows, "a", "ms_ssim") == curve(lossy, "a", "ms_ssim")
    assert curve(rows[-1:], "a", "psnr") is None
    assert curve([*lossy, {"codec": "a", "bpp": 9.0, "psnr": None}], "a", "psnr") is None
    assert json.loads(to_json({"a": [float("inf"), float("nan"), 1.5]})) == {"a": [None, None, 1.5]}


def test_too_little_overlap_is_no_number():
    far = Curve(ANCHOR.bpp, [value + 10.5 for value in ANCHOR.value])
    assert overlap("psnr", ANCHOR, far) < 0.1
    assert bd_rate("psnr", ANCHOR, far) is None
    assert bd_psnr(ANCHOR, far) is None
    three = Curve(ANCHOR.bpp[:3], ANCHOR.value[:3])
    assert bd_rate("psnr", ANCHOR, three) is None


def test_a_report_resumes_and_names_what_is_missing(inside, tmp_path, trunk, monkeypatch):
    monkeypatch.setenv("PATH", "")  # no JPEG XL
    for index in range(2):
        pictures.grainy(192 + index, 180).save(tmp_path / f"{index}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "published.json").write_text('{"a paper": {"bpp": [0.1, 1.0], "psnr": [20, 30]}}')
    call = ["bench", "0.png", "1.png", "broken.png", "-o", "report", "--trunk", trunk, "--published", "published.json",
            "--codec", "jpeg", "--codec", "nicodec@tiny", "--codec", "jxl", "--settings", "5,31,57,96"]  # fmt: skip
    code, _, err = inside(*call)
    assert code == errors.InputError.exit_code
    assert "skipped broken.png" in err
    folder = tmp_path / "report"
    report = json.loads((folder / "report.json").read_text())
    assert set(report["missing"]) >= {"jxl", "DISTS"}
    assert len(report["measurements"]) == (8 + 4) * 2
    for row in report["measurements"]:
        assert row["bpp"] == pytest.approx(8 * row["bytes"] / (row["width"] * row["height"]))
        assert row["lpips"] > 0
        assert 10 < row["psnr"] < 50
    documented = set(re.findall(r"`(\w+)`", SCHEMA.read_text()))
    assert set(report) <= documented
    assert set(report["measurements"][0]) <= documented
    page = (folder / "report.html").read_text()
    assert "src='data:image/png;base64," in page
    assert not re.findall(r"src='(?!data:)", page)

    tables = [part.splitlines() for part in (folder / "report.md").read_text().split("\n## ")[1:]]
    assert len(tables) == 2 * 2 + 3  # differences from each of two, and means, of two kinds; and what it costs
    for title, _, sentence, _, head, _, *rows in tables:
        assert sentence.startswith(title.split(":")[0])
        assert len({MEASURES[cell].asks for cell in head.split(" | ") if cell in MEASURES}) <= 1
        assert head.endswith("| version and settings |")
        for row in rows:
            assert row.endswith(f"| {report['encoders'][row.split(' | ')[0].removeprefix('| ')]} |")
    assert f"libjpeg_turbo {features.version('libjpeg_turbo')}; quality=setting" in report["encoders"]["jpeg"]
    assert find_package("tiny").parts["base"].id.hex() in report["encoders"]["nicodec@tiny"]
    assert report["set"] is None

    lines = (folder / "measurements.jsonl").read_text().splitlines()
    lines[0] = lines[0].replace("libjpeg_turbo", "libjpeg_older")  # measured with what is no longer here
    lines[1] = lines[1].replace('"ssimulacra2"', '"ssimulacra1"')  # measured before a metric was there
    (folder / "measurements.jsonl").write_text("\n".join(lines[:-3]) + '\n{"codec": "jpe')  # killed while writing
    assert inside(*call)[0] == errors.InputError.exit_code
    again = json.loads((folder / "report.json").read_text())
    kept = [row for row in again["measurements"] if row in report["measurements"]]
    assert len(kept) == len(lines) - 3 - 2
    assert {row["encoder"] for row in again["measurements"]} == set(again["encoders"].values())
    assert all(row["ssimulacra2"] is not None for row in again["measurements"])
    assert len(again["measurements"]) == len(lines)


def curve_of(name, image):
    codec = make(name)
    files = [codec.encode(image, setting) for setting in codec.settings]
    errors_db = [psnr(np.asarray(image), np.asarray(codec.decode(data))) for data in files]
    return Curve([8 * len(data) / (image.width * image.height) for data in files], errors_db)


@pytest.mark.parametrize("name", ["jpeg", "avif"])
def test_the_tune_for_psnr_takes_fewer_bits_by_psnr(name):
    image = pictures.image(160, 160)
    default, tuned = curve_of(name, image), curve_of(f"{name}:tune=psnr", image)
    assert tuned.bpp == sorted(tuned.bpp)
    assert bd_rate("psnr", default, tuned) < -2
    assert "psnr" not in make(name).encoder
    assert make(name).encoder != make(f"{name}:tune=psnr").encoder


def test_rivals_write_what_their_names_say():
    image = pictures.image(64, 48)
    for name, table in (("jpeg", None), ("jpeg:tune=psnr", [20] * 64)):
        opened = Image.open(io.BytesIO(make(name).encode(image, 20)))
        assert opened.info["progressive"]
        assert (opened.quantization[0] == table) == (table is not None)
    assert "'tune': 'psnr'" in make("avif:tune=psnr").encoder
    assert "aom" in make("avif").encoder


def test_named_sets(tmp_path, monkeypatch, inside):
    assert {name: len(sets.read_manifest(name)) for name in sets.MANIFESTS} == {"kodak": 24, "validation": 193}
    for index, name in enumerate(("a.png", "b.png", "unlisted.png")):
        pictures.image(20 + index, 20).save(tmp_path / name)
    digests = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a.png", "b.png")}
    manifest = tmp_path / "three.sha256"
    manifest.write_text("".join(f"{digest}  {name}\n" for name, digest in (digests | {"c.png": "0" * 64}).items()))
    monkeypatch.setitem(sets.MANIFESTS, "three", manifest)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    found = sets.find_set("three", tmp_path)
    assert found.paths == [tmp_path / "a.png"]
    assert found.faults() == ["three: 1 missing: c.png", "three: 1 other than listed: b.png"]
    assert found.as_json() == {"name": "three", "listed": 3, "missing": ["c.png"], "other": ["b.png"]}

    (tmp_path / "kodim01.png").write_bytes((tmp_path / "a.png").read_bytes())
    code, _, err = inside("bench", ".", "--set", "kodak", "-o", "r")
    assert code == errors.InputError.exit_code
    assert err.strip().endswith("no picture of kodak as listed; 1 of them have other content")
    code, _, err = inside("bench", "a.png", "--set", "kodak", "-o", "r")
    assert code == errors.InputError.exit_code
    assert "not a folder" in err
    code, _, err = inside("bench", "a.png", "b.png", "--set", "kodak", "-o", "r")
    assert code == errors.UsageError.exit_code


def test_unknown_codecs_are_a_usage_error(inside, tmp_path):
    pictures.image(20, 20).save(tmp_path / "a.png")
    code, _, err = inside("bench", "a.png", "-o", "r", "--codec", "gif")
    assert code == errors.UsageError.exit_code
    assert "known: nicodec, jpeg" in err


def test_compressai_models_whose_weights_are_there(tmp_path, monkeypatch):
    """Random weights in torch's cache under the file name that the zoo expects: real strings, a real round trip."""
    from compressai.models import FactorizedPrior
    from compressai.zoo.image import model_urls

    from nicodec.bench.codecs import make, missing

    name = "compressai:bmshj2018-factorized"
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert missing(name) == "no weights of it in torch's cache"
    torch.manual_seed(0)
    model = FactorizedPrior(128, 192)
    model.update()
    (tmp_path / "checkpoints").mkdir()
    file = model_urls["bmshj2018-factorized"]["mse"][2].rsplit("/", 1)[-1]
    torch.save(model.state_dict(), tmp_path / "checkpoints" / file)
    assert missing(name) is None
    codec = make(name)
    assert codec.settings == (2,)
    image = pictures.image(70, 50)
    data = codec.encode(image, 2)
    decoded = codec.decode(data)
    assert decoded.size == image.size
    assert decoded.tobytes() == codec.decode(data).tobytes()


def test_peak_memory_is_the_codecs_own():
    """The parent holds much more than the worker; only the worker's memory may be told."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    from nicodec.bench.worker import code, peak_mb

    ballast = np.ones(600 << 20, np.uint8)
    assert peak_mb() > 600
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as worker:
        outcome = worker.submit(code, "jpeg", pictures.scene(64, 64), 60).result()
    assert 10 < outcome["peak_mb"] < 400
    assert ballast[-1] == 1


def test_names_say_how_nicodec_decodes():
    assert make("nicodec:references=2").references == 2
    codec = make("nicodec:sq:perception:tau=0.7:steps=2@mine")
    assert (codec.streams, codec.anchor, codec.tau, codec.steps, codec.model) == ("sq", "perception", 0.7, 2, "mine")
    assert (codec.tune, make("nicodec:tune=psnr").tune) == ("eye", "psnr")
    assert make("nicodec:tune=psnr@tiny").encoder == make("nicodec@tiny").encoder.replace("tune=eye", "tune=psnr")
    for wrong in ("nicodec:tau", "nicodec:tune=avif", "nicodec:tau=much", "nicodec:nonsense"):
        with pytest.raises(errors.UsageError, match="none of"):
            make(wrong)


def test_the_plane_of_tau(toys, trunk, tmp_path, monkeypatch):
    from lab import taus

    path = tmp_path / "a.png"
    pictures.image(140, 130).save(path)
    monkeypatch.setattr(taus, "QUALITIES", (20,))
    monkeypatch.setattr(taus, "TAUS", (0.0, 1.0))
    monkeypatch.setattr(taus, "WAYS", (("fidelity", 1), ("fidelity", 2), ("perception", 1)))
    lines = taus.measure("toy16", trunk, [path])
    plain = api.decode(api.encode(path, model="toy16", quality=20, streams="sq"))
    assert lines[0].psnr[0] == lines[1].psnr[0] == pytest.approx(psnr(np.asarray(Image.open(path)), np.asarray(plain)))
    assert lines[0].psnr[1] != lines[1].psnr[1]
    assert lines[0].psnr[1] < lines[0].psnr[0]  # a fuser of random weights
    assert lines[0].bpp == lines[1].bpp < lines[2].bpp
    assert len(taus.table(lines).splitlines()) == 5
    taus.draw(lines, tmp_path / "plane.png")
    assert Image.open(tmp_path / "plane.png").size > (300, 200)


def test_what_references_are_worth(monkeypatch, tmp_path):
    """The table's points are those of real files."""
    from lab import references

    monkeypatch.setattr(references, "SIZES", (4,))
    monkeypatch.setattr(references, "NOISES", (1.0,))
    path = tmp_path / "a.png"
    pictures.image(140, 130).save(path)
    trial, picture = references.Trial("tiny-references"), read_picture(path.read_bytes())
    for chosen, find in (("off", lambda picture, index: None), (references.AUTO_COUNT, trial.found())):
        data = api.encode(path, model="tiny-references", streams="sq", quality=20, references=chosen)
        decoded = np.asarray(api.decode(data))
        expected = 8 * len(data) / (140 * 130), psnr(picture.pixels, decoded)
        assert trial.point(picture, 20, find(picture, 0)) == pytest.approx(expected)
    off, curves = references.measure(trial, [picture])
    assert curves["by search"].value != curves["random"].value != curves["zeros"].value != off.value
    assert len(references.table(off, curves).splitlines()) == 8
    auto, said = references.automatic([picture], "tiny-references")
    assert auto == off  # random adapters do not pay
    assert said == "auto refers in 0 of 4 files"
    references.draw({1: 0.0, 12: 0.1}, {0.0: 0.1, 1.0: 0.0}, tmp_path / "plot.png")
    assert Image.open(tmp_path / "plot.png").size > (300, 200)


def test_what_is_shipped_is_what_the_command_runs():
    """Experiments stand in tests/lab, outside the wheel."""
    package = Path(errors.__file__).parent
    sources = {path: path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    for module in (path for path in sources if path.parent.name == "bench" and path.stem != "__init__"):
        others = (text for path, text in sources.items() if path != module)
        assert any(f"from nicodec.bench.{module.stem} import" in text for text in others), module.stem
