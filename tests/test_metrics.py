"""Metrics, and differences of curves, against known values and independent computations."""

import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pictures
import pytest
import torch
from PIL import Image
from scipy.integrate import trapezoid
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from nicodec.bench.codecs import make
from nicodec.bench.curves import Curve, bd_psnr, bd_rate, overlap
from nicodec.bench.measures import MEASURES, comparisons
from nicodec.bench.summary import curve, to_json
from nicodec.metrics.perceptual import Perception, frechet_distance, kernel_distance
from nicodec.metrics.psnr import psnr, psnr_y
from nicodec.metrics.structure import ms_ssim
from nicodec.metrics.visible import BUTTERAUGLI, Cvvdp, butteraugli, ssimulacra2

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


def test_lpips_against_the_lpips_package(alexnet):
    import lpips

    with warnings.catch_warnings(action="ignore"):
        reference = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    state = torch.load(alexnet, weights_only=True)
    theirs = dict(reference.net.named_parameters())
    for name, value in state.items():
        layer = name.removeprefix("features.")
        (match,) = [key for key in theirs if key.split(".", 1)[1] == layer]
        theirs[match].data.copy_(value)
    a, b = pictures.scene(96, 80), pictures.scene(96, 80)[::-1].copy()
    x, y = (torch.from_numpy(p).permute(2, 0, 1)[None] / 127.5 - 1 for p in (a, b))
    perception = Perception(alexnet)
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
