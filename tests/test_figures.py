"""Figures of README.md and of cards are those of models/NAME/results; and how these come about, on a toy."""

import json
import re

import pictures
import pytest
from lab import reproduce
from PIL import Image

from nicodec.zoo.manifest import read_manifest

REGIONS = ("toy16 bits", "toy16 encoders", "toy16 plot lpips", "toy16 strip crops")


@pytest.mark.parametrize("page", reproduce.pages(), ids=lambda page: page.parent.name)
def test_pages_say_what_the_results_say(page):
    text = page.read_text(encoding="utf-8")
    assert reproduce.filled(page) == text
    assert len(reproduce.REGION.findall(text)) == text.count("<!-- figures:") == text.count("<!-- end of figures -->")


@pytest.mark.parametrize("page", reproduce.pages(), ids=lambda page: page.parent.name)
def test_no_figure_of_a_page_is_typed(page):
    typed = reproduce.REGION.sub("", page.read_text(encoding="utf-8"))
    assert re.findall(r"\d+ ?(?:%|dB\b|bpp\b|x\b)", typed) == []


@pytest.mark.parametrize("card", reproduce.pages()[1:], ids=lambda card: card.parent.name)
def test_cards_list_the_parts_as_they_are(card):
    listed = re.findall(r"^\| (\w+) \| `(\w{16})` \| ([\d.]+) \|", card.read_text(encoding="utf-8"), re.M)
    parts = read_manifest(card.with_name("model.toml")).parts
    assert listed == [(n, part.id.hex(), f"{part.path.stat().st_size / 1e6:.1f}") for n, part in parts.items()]


def test_pictures_beside_a_card_are_shown():
    kept = {path for path in reproduce.MODELS.glob("*/*") if path.suffix in (".jpg", ".png", ".webp")}
    pages = [*reproduce.MODELS.glob("*/*.md")]
    shown = {page.parent / link for page in pages for link in re.findall(r"!\[.*?\]\((.*?)\)", page.read_text("utf-8"))}
    assert kept
    assert kept <= shown


def test_figures_are_measured_kept_and_filled_in(toys, alexnet, tmp_path, monkeypatch):
    pictures.grainy(192, 180).save(tmp_path / "kodim01.png")
    monkeypatch.setattr(reproduce, "RIVALS", {"jpeg": "JPEG"})
    monkeypatch.setattr(reproduce, "OURS", reproduce.OURS[:1])
    monkeypatch.setattr(reproduce, "STRIPS", {"crops": (18, {"kodim01.png": (0, 0)})})
    models, page, work = tmp_path / "models", tmp_path / "card.md", tmp_path / "work"
    results = models / "toy16" / "results"
    results.parent.mkdir(parents=True)
    page.write_text("".join(f"<!-- figures: {words} -->\n12 dB <!-- end of figures -->\n" for words in REGIONS))
    assert reproduce.filled(page, models).count("Not measured yet") == len(REGIONS)

    reproduce.measure("toy16", [tmp_path / "kodim01.png", "--settings", "5,31,57,96"], alexnet, work)
    reproduce.keep(work, results)
    reproduce.strip("toy16", tmp_path, "crops").save(results / "crops.webp")
    expected = {reproduce.REPORT, "crops.webp", *(f"{name}.png" for name in reproduce.PLOTS)}
    assert {path.name for path in results.iterdir()} == expected
    assert Image.open(results / "crops.webp").size == (5 * 224, 224 + 18)

    file = results / reproduce.REPORT
    report = json.loads(file.read_text())
    reproduce.measure(
        "toy16", [tmp_path / "kodim01.png", "--settings", "5,31,57,96"], alexnet, tmp_path / "w", ["jpeg"]
    )
    reproduce.keep(tmp_path / "w", results)
    again = json.loads(file.read_text())
    assert (again["differences"], again["encoders"]) == (report["differences"], report["encoders"]), "the others stay"
    assert str(tmp_path) not in file.read_text()
    text = reproduce.filled(page, models)
    assert "12 dB" not in text
    assert "(models/toy16/results/lpips.png)" in text
    assert all(encoder in text for encoder in report["encoders"].values())
    key = "jpeg", "nicodec@toy16", "ssimulacra2"
    (found,) = (row for row in report["differences"] if (row["anchor"], row["test"], row["metric"]) == key)
    for rate, cell in ((None, "| JPEG | - | - |"), (-12.4, "| JPEG | - | -12 % |"), (7.6, "| JPEG | - | +8 % |")):
        found["bd_rate"] = rate
        file.write_text(json.dumps(report))
        assert cell in reproduce.filled(page, models)
    page.write_text(text)
    assert reproduce.filled(page, models) != text  # the results are no longer those that the page was filled with
