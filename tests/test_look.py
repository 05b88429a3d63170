"""The live page and the page without a server, in a real browser."""

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pictures
import pytest
import toy
from lab.drag import measure
from PIL import Image
from test_batch import hear_ctrl_c
from werkzeug.test import Client

import nicodec
from nicodec import errors
from nicodec.container.layout import Box
from nicodec.image.files import from_pillow
from nicodec.look.compare import compare
from nicodec.look.rivals import rival
from nicodec.look.server import Page, address, serve
from nicodec.look.session import Session
from nicodec.metrics.psnr import psnr

ROOT = Path(__file__).parents[1]


pytestmark = pytest.mark.usefixtures("toys")


def get(address, **headers):
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60) as response:
        return response.read(), response.headers


def open_image(data):
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("anchor", ["fidelity", "perception"])
def test_the_server_gives_what_decode_gives(coded, place, anchor):
    for tau in (0, 0.5):
        query = f"anchor={anchor}&tau={tau}&steps=2&box=100,40,300,200"
        shown = open_image(get(f"{place}picture?{query}")[0]).astype(int)
        whole = np.asarray(nicodec.decode(coded[1], anchor=anchor, tau=tau, steps=2, device="cpu")).astype(int)
        assert np.abs(shown - whole[40:240, 100:400]).max() <= 1


def test_facts_and_rivals(coded, place):
    facts = json.loads(get(f"{place}facts")[0])
    assert (facts["anchors"], facts["tau"], facts["original"]) == (["fidelity", "perception"], True, True)
    assert facts["rivals"] == ["avif", "jpeg", "webp"]
    best = rival("jpeg", np.asarray(coded[0]), 20_000)
    assert best.size <= 20_000 < rival("jpeg", np.asarray(coded[0]), 10**9).size
    for kind in ("avif", "webp"):
        assert 500 < rival(kind, np.asarray(coded[0])[:64, :64], 1500).size <= 1500
    shown, headers = get(f"{place}rival?kind=jpeg&box=10,20,50,40")
    size, more = re.fullmatch(r"quality \d+, (\d+) bytes( at least)?", headers["X-Note"]).groups()
    assert (int(size) > len(coded[1])) == bool(more)
    original = np.asarray(coded[0])[20:60, 10:60].astype(float)
    assert float(headers["X-MSE"]) == pytest.approx(np.square(original - open_image(shown)).mean(), rel=1e-3)


def test_alpha_is_shown(toys):
    image = pictures.image(90, 60, "RGBA")
    data = nicodec.encode(image, model="toy16", device="cpu")
    page = Page(Session(data, "cpu"), "a.nic", from_pillow(image))
    client = Client(page)
    for name in ("picture", "original"):
        shown = open_image(client.get(f"/{page.token}/{name}?box=10,20,50,40", base_url="http://127.0.0.1/").data)
        assert np.array_equal(shown[:, :, 3], np.asarray(image)[20:60, 10:60, 3])
    written = compare([("a.nic", data)], (0.0,), 1, "cpu")
    found = re.findall(r"data:image/webp;base64,([^\"]+)", written)
    assert len(found) == 2, "both anchors"
    for each in found:
        assert np.array_equal(open_image(base64.b64decode(each))[:, :, 3], np.asarray(image)[:, :, 3])


def test_a_jpeg_is_shown_as_it_is_or_restored(tiny, tmp_path, monkeypatch):
    """The slider is there where something restores it."""
    jpeg = pictures.file_bytes(pictures.image(90, 60), "JPEG", quality=20)
    data, box = nicodec.encode(jpeg, base="jpeg"), Box(10, 20, 50, 30)
    monkeypatch.setattr("nicodec.zoo.store.search_path", lambda: [tmp_path])
    plain = Session(data)
    assert (plain.facts()["anchors"], plain.facts()["tau"]) == (["fidelity"], False)
    assert np.array_equal(plain.render("fidelity", 0, 1, box), np.asarray(Image.open(io.BytesIO(jpeg)))[20:50, 10:60])
    toy.add_restorer(tmp_path, tiny)
    session = Session(data)
    assert session.facts()["tau"]
    for tau in (0, 0.5):
        whole = np.asarray(nicodec.decode(data, tau=tau)).astype(int)
        assert np.abs(session.render("fidelity", tau, 1, box) - whole[20:50, 10:60]).max() <= 1
    assert "a.nic" in compare([("a.nic", data)], (0.0, 1.0), 1, "cpu")


def test_a_drag_asks_the_fuser_once_for_each_piece(coded, monkeypatch):
    session = Session(coded[1], "cpu")
    painter = session.painter
    fuser, asked = type(painter.experts.fuser), []
    plain = fuser.residual
    monkeypatch.setattr(fuser, "residual", lambda *given: asked.append(1) or plain(*given))
    for tau in (0.1, 0.5, 0.9):
        for box in (Box(0, 0, 250, 400), Box(250, 0, 250, 400), Box(100, 40, 64, 64)):
            session.render("fidelity", tau, 1, box)
    assert 0 < len(asked) <= 3, "of nine"
    monkeypatch.setattr("nicodec.look.session.KEPT", 1)
    session.render("fidelity", 1, 1, Box(400, 0, 64, 400))
    held = sum(residual.size for residual in painter.residuals.values())
    assert 0 < held <= painter.y_hat.size, "what is kept stays in bounds"


@pytest.mark.parametrize(("path", "headers", "code"), [
    ("../../etc/passwd", {}, 404), ("page.py", {}, 404), ("%2e%2e/cli/view.py", {}, 404),
    ("picture?box=0,0,9999,1", {}, 400), ("picture?box=x", {}, 400),
    ("picture?tau=7", {}, 400), ("picture?anchor=none", {}, 400), ("rival?kind=gif", {}, 404),
])  # fmt: skip
def test_what_the_server_refuses(place, path, headers, code):
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(place + path, **headers)
    assert caught.value.code == code
    assert "Traceback" not in caught.value.read().decode()


def test_a_port_that_another_has(served):
    with pytest.raises(errors.UsageError, match="cannot be had"):
        serve(None, served[0].port)


PIXELS = "() => { const c = document.getElementById('left'); return c.toDataURL(); }"


def drawn(page):
    page.wait_for_function("document.getElementById('stage').getAttribute('aria-busy') === 'false'")
    return page.evaluate(PIXELS)


def test_the_live_page(page, place, tmp_path):
    page.goto(place)
    first = drawn(page)
    assert page.text_content("#name") == "a.nic"
    assert re.fullmatch(r"\d+ bytes \(sq \d+ \+ vq \d+\), [\d.]+ bpp, [\d.]+ dB", page.text_content("#detail"))
    page.fill("#tau", "1")
    second = drawn(page)
    assert second != first, "the slider changes the picture"
    page.check("input[value=perception]")
    third = drawn(page)
    assert third not in (first, second), "the anchor changes the picture"
    page.focus("#stage")
    page.keyboard.press("f")
    assert drawn(page) == second, "keys do what the mouse does"
    cut = page.eval_on_selector("#right", "e => e.style.clipPath")
    box = page.locator("#handle").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] - 60, box["y"] + 20)
    page.mouse.up()
    assert page.eval_on_selector("#right", "e => e.style.clipPath") != cut, "the split follows the mouse"
    page.select_option("#beside", label="JPEG")
    drawn(page)
    assert re.fullmatch(r"JPEG: quality \d+, \d+ bytes.*, [\d.]+ dB", page.text_content("#rival"))
    page.check("#show-bits")
    page.wait_for_function("document.getElementById('bits').naturalWidth === 500")
    with page.expect_download() as download:
        page.click("#download")
    assert Image.open(download.value.path()).size == (500, 400)
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
    page.screenshot(path=os.environ.get("NICODEC_SCREENSHOTS", str(tmp_path)) + f"/view-{width}.png")


def test_zoom_and_pan_by_keyboard(page, place):
    page.goto(place)
    drawn(page)
    before = page.eval_on_selector("#plane", "e => e.style.transform")
    page.focus("#stage")
    for key in ("+", "ArrowLeft"):
        page.keyboard.press(key)
        after = page.eval_on_selector("#plane", "e => e.style.transform")
        assert after != before
        before = after
    page.keyboard.press("0")
    assert page.eval_on_selector("#plane", "e => e.style.transform") != before


def test_a_picture_in_pieces(page, toys):
    """Wider than a piece: the parts come one by one, and make what decode makes."""
    data = nicodec.encode(pictures.image(1100, 60), model="toy16", device="cpu", quality=30)
    shown = Page(Session(data, "cpu"), "a.nic", None)
    server = serve(shown)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page.goto(address(server, shown.token))
    drawn(page)
    page.fill("#tau", "0.5")
    shown = open_image(base64.b64decode(drawn(page).partition(",")[2]))[:, :, :3].astype(int)
    assert np.abs(shown - np.asarray(nicodec.decode(data, tau=0.5, device="cpu")).astype(int)).max() <= 1
    assert int(page.evaluate("document.body.dataset.first")) <= int(page.evaluate("document.body.dataset.all"))
    server.shutdown()
    server.server_close()
    page.fill("#tau", "0.7")
    page.wait_for_selector("#message.error")
    assert page.text_content("#message") == "nicodec view has ended; start it again"


def test_a_drag_is_measured(browser, coded):
    found = measure(browser.new_page(), coded[1])
    assert found.keys() == {"open", "first", "whole", "drag", "drag_whole"}
    assert min(found.values()) > 0
    assert found["whole"] >= found["first"]
    assert found["drag_whole"] >= found["drag"]


def test_the_page_without_a_server(page, coded, tmp_path):
    image, data = coded
    named = [("a.nic", data), ("<script>.png", pictures.file_bytes(image))]
    (tmp_path / "page.html").write_text(compare(named, (0.0, 1.0), 1, "cpu"))
    page.goto(f"file://{tmp_path}/page.html")
    first = drawn(page)
    page.fill("#tau", "0.9")
    second = drawn(page)
    assert second != first
    page.check("input[value=perception]")
    assert drawn(page) not in (first, second)
    assert page.locator("#beside option").all_text_contents() == ["nothing", "a.nic", "<script>.png"]


def test_compare_refuses_other_sizes(inside, tmp_path, toys):
    pictures.image(20, 20).save(tmp_path / "a.png")
    pictures.image(30, 20).save(tmp_path / "b.png")
    code, _, err = inside("compare", "a.png", "b.png", "-o", "page.html")
    assert code == errors.UsageError.exit_code
    assert "of one size" in err
    assert inside("compare", "a.png", "a.png", "-o", "page.html")[0] == 0
    assert "data:image/" in (tmp_path / "page.html").read_text()


def held(page):
    """Each picture in a page, opened, and what the page says of them."""
    items = json.loads(re.search(r"window.NIC_STATIC = (.*?);</script>", page)[1])["items"]
    addresses = [next(iter(item["pictures"].values()))["0"] for item in items]
    return [Image.open(io.BytesIO(base64.b64decode(a.partition(",")[2]))) for a in addresses], [
        i["detail"] for i in items
    ]


def test_a_page_is_small_and_says_how_close_it_is():
    """A large picture is held close; one that takes few bytes without loss exactly."""
    scene = Image.open(ROOT / "examples" / "scene.png").convert("RGB")
    flat = Image.new("RGB", scene.size, (200, 30, 40))
    flat.paste((0, 60, 255), (100, 100, 400, 300))
    page = compare(
        [(name, pictures.file_bytes(image)) for name, image in (("a", scene), ("b", flat))], (0.0,), 1, "cpu"
    )
    (close, exact), (said_close, said_exact) = held(page)
    without_loss = len(pictures.file_bytes(scene, "WEBP", lossless=True))
    assert len(page) < 0.4 * without_loss
    assert close.format == "AVIF"
    found = psnr(np.asarray(close.convert("RGB")), np.asarray(scene))
    assert found > 40
    assert f"shown here with {found:.1f} dB PSNR or better" in said_close
    assert said_exact.endswith("shown exactly")
    assert np.array_equal(np.asarray(exact.convert("RGB")), np.asarray(flat))


def test_alpha_on_a_page_without_a_server_is_exact():
    image = Image.open(ROOT / "examples" / "scene.png").convert("RGB")
    image.putalpha(Image.fromarray(pictures.alpha(*image.size)))
    ((close,), (said,)) = held(compare([("a", pictures.file_bytes(image))], (0.0,), 1, "cpu"))
    assert np.array_equal(np.asarray(close)[:, :, 3], np.asarray(image)[:, :, 3])
    assert f"with {psnr(np.asarray(close), np.asarray(image)):.1f} dB" in said


def test_view_runs_until_ctrl_c(coded, tmp_path):
    (tmp_path / "a.nic").write_bytes(coded[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "nicodec", "view", "a.nic", "--no-browser"], cwd=tmp_path, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    line = process.stderr.readline()
    place = re.search(r"http://127\.0\.0\.1:\d+/[\w-]{32,}/", line)[0]
    assert json.loads(get(f"{place}facts")[0])["name"] == "a.nic"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert "Traceback" not in process.stderr.read()


def test_view_refuses_more_pixels_than_are_allowed(inside, coded, tmp_path):
    (tmp_path / "a.nic").write_bytes(coded[1])
    code, _, err = inside("view", "a.nic", "--no-browser", "--max-pixels", "100")
    assert code == errors.LimitError.exit_code
    assert "--max-pixels" in err


def test_view_of_a_damaged_file(inside, coded, tmp_path):
    (tmp_path / "a.nic").write_bytes(coded[1][:-7])
    code, _, err = inside("view", "a.nic", "--no-browser")
    assert code == errors.CorruptFileError.exit_code
    assert err.count("\n") == 1
