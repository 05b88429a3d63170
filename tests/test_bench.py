"""Rivals by name, named sets, and the report end to end."""

import hashlib
import io
import json
import re
from pathlib import Path

import numpy as np
import pictures
import pytest
import torch
from lab import kinds
from PIL import Image, features

import nicodec as api
from nicodec import errors
from nicodec.bench import sets
from nicodec.bench.codecs import make
from nicodec.bench.curves import Curve, bd_rate
from nicodec.bench.measures import MEASURES
from nicodec.image.files import read_picture
from nicodec.metrics.psnr import psnr
from nicodec.zoo.store import find_package

SCHEMA = Path(errors.__file__).parent / "bench" / "REPORT.md"


def test_a_report_resumes_and_names_what_is_missing(inside, tmp_path, alexnet, monkeypatch):
    monkeypatch.setenv("PATH", "")  # no JPEG XL
    for index in range(2):
        pictures.grainy(192 + index, 180).save(tmp_path / f"{index}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "published.json").write_text('{"a paper": {"bpp": [0.1, 1.0], "psnr": [20, 30]}}')
    call = ["bench", "0.png", "1.png", "broken.png", "-o", "report", "--trunk", alexnet, "--published",
            "published.json", "--codec", "jpeg", "--codec", "nicodec@tiny", "--codec", "jxl",
            "--settings", "5,31,57,96"]  # fmt: skip
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


def test_the_pictures_of_kinds_are_those_that_its_manifest_lists(tmp_path):
    for name in ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg",
                 "horse.png"):  # fmt: skip
        pictures.image(64, 48).save(tmp_path / name)
    made = dict(kinds.pictures(tmp_path))
    assert sorted(f"{name}.png" for name in made) == list(sets.read_manifest("kinds"))
    assert {picture.mode for picture in made.values()} == {"RGB"}


def test_named_sets(tmp_path, monkeypatch, inside):
    assert {name: len(sets.read_manifest(name)) for name in sets.MANIFESTS} == {
        "kinds": 21, "kodak": 24, "validation": 193,
    }  # fmt: skip
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


def test_the_plane_of_tau(toys, alexnet, tmp_path, monkeypatch):
    from lab import taus

    path = tmp_path / "a.png"
    pictures.image(140, 130).save(path)
    monkeypatch.setattr(taus, "QUALITIES", (20,))
    monkeypatch.setattr(taus, "TAUS", (0.0, 1.0))
    monkeypatch.setattr(taus, "WAYS", (("fidelity", 1), ("fidelity", 2), ("perception", 1)))
    lines = taus.measure("toy16", alexnet, [path])
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
