import io
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
sys.path.insert(0, str(TESTS))
# Toy networks gain nothing by threads; and where several processes of them share few cores, they lose a lot by waiting.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NICODEC_MODELS"] = str(TESTS / "golden" / "models")
os.environ["NICODEC_DICTIONARIES"] = str(TESTS / "golden")


@pytest.fixture(scope="session")
def tiny():
    """The base part of the tiny frozen model."""
    from nicodec.zoo.store import find_package

    return find_package("tiny").parts["base"]


@pytest.fixture(scope="session")
def toy_folder(tiny, tmp_path_factory):
    """Toy packages `toy16` and `toy32` with all parts, tokens of 16 and of 32 pixels."""
    import toy

    folder = tmp_path_factory.mktemp("models")
    for stride in (16, 32):
        toy.make_model(folder, f"toy{stride}", tiny, stride=stride)
    return folder


@pytest.fixture(scope="session")
def alexnet(tmp_path_factory):
    """An AlexNet of torchvision's names and shapes with random weights: the real ones are not ours to ship."""
    import torch
    from torchvision import models

    torch.manual_seed(0)
    state = {k: v for k, v in models.alexnet(weights=None).state_dict().items() if k.startswith("features.")}
    path = tmp_path_factory.mktemp("trunk") / "alexnet.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def toys(toy_folder, tiny):
    """The toy packages and the tiny model are the ones to be found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NICODEC_MODELS", f"{toy_folder}{os.pathsep}{tiny.path.parents[1]}")
        yield toy_folder


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder of training pictures, and one file that is none."""
    import pictures

    folder = tmp_path_factory.mktemp("data")
    for index in range(4):
        pictures.image(290 + 10 * index, 280).save(folder / f"{index}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def photos(tmp_path):
    """Ten pictures in a tree, of one scene from a little further on each time."""
    import pictures

    for index in range(10):
        path = tmp_path / "photos" / ("sub" if index % 2 else "") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures.another_shot(64, 48, across=index).save(path)
    return tmp_path / "photos"


@pytest.fixture(scope="session")
def trunk(tmp_path_factory):
    """A SqueezeNet with random weights, stored as torchvision's are."""
    import torch
    from torchvision.models import squeezenet1_1

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("trunk") / "squeezenet.pth"
    torch.save(squeezenet1_1(weights=None).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def vgg(tmp_path_factory):
    """The convolutions of a VGG-16 with random weights, stored as torchvision's are."""
    import torch
    from torchvision.models import vgg16

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("trunk") / "vgg16.pth"
    torch.save({f"features.{name}": weight for name, weight in vgg16(weights=None).features.state_dict().items()}, path)
    return path


@pytest.fixture
def nicodec(tmp_path):
    """Run the command as a process in an empty folder: returns exit code, stdout (bytes) and stderr (text)."""

    def call(*arguments, stdin=b"", environment=None):
        finished = subprocess.run(
            [sys.executable, "-m", "nicodec", *map(str, arguments)],
            input=stdin, capture_output=True, cwd=tmp_path, timeout=120, check=False,
            env={**os.environ, "PYTHONPATH": str(TESTS.parent), **(environment or {})},
        )  # fmt: skip
        return finished.returncode, finished.stdout, finished.stderr.decode()

    return call


@pytest.fixture
def inside(tmp_path):
    """As `nicodec`, but in this process: quick, where being a process is not the point."""
    from nicodec.cli.main import run

    def call(*arguments, stdin=b""):
        streams = {name: io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", write_through=True) for name, data in
                   (("stdin", stdin), ("stdout", b""), ("stderr", b""))}  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setattr(sys, "argv", ["nicodec", *map(str, arguments)])
            for name, stream in streams.items():
                patch.setattr(sys, name, stream)
            handler, code = signal.getsignal(signal.SIGTERM), 0
            try:
                run()
            except SystemExit as exit_:
                code = exit_.code or 0
            finally:
                signal.signal(signal.SIGTERM, handler)
        return code, streams["stdout"].buffer.getvalue(), streams["stderr"].buffer.getvalue().decode()

    return call


@pytest.fixture
def shell(tmp_path):
    """Run words as a process in an empty folder, with `nicodec` on its PATH: returns stdout; stderr if it fails."""
    command = tmp_path / "bin" / "nicodec"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nicodec "$@"\n')
    command.chmod(0o755)

    def call(*words):
        path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PYTHONPATH": str(TESTS.parent), "PATH": path}
        finished = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    return call


@pytest.fixture(scope="module")
def coded(toys):
    """A picture, and its file."""
    import pictures

    import nicodec

    image = pictures.image(500, 400)
    return image, nicodec.encode(image, model="toy16", device="cpu", quality=5, streams="sq+vq")


@pytest.fixture(scope="module")
def served(coded):
    """A running server of the live page, and the page."""
    from nicodec.image.files import from_pillow
    from nicodec.look.server import Page, serve
    from nicodec.look.session import Session

    image, data = coded
    page = Page(Session(data, "cpu"), "a.nic", from_pillow(image))
    server = serve(page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server, page
    server.shutdown()


@pytest.fixture(scope="module")
def place(served):
    """The address with its token."""
    from nicodec.look.server import address

    return address(served[0], served[1].token)


@pytest.fixture(scope="module")
def browser():
    """Chromium, without a window."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(params=[(1280, 800), (390, 740)], ids=["desk", "phone"])
def page(browser, request):
    opened = browser.new_page(viewport={"width": request.param[0], "height": request.param[1]})
    opened.set_default_timeout(30_000)
    problems = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    yield opened
    opened.close()
    assert not problems
