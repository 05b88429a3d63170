"""Both engines, one set of tests: what is parsed is equal, pixels are within a level; and neither is needed by all."""

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pictures
import pytest
import torch
from test_batch import hear_ctrl_c

import nicodec
from nicodec.bases.own_decoder import OwnDecoder
from nicodec.container.reader import read_file
from nicodec.engines import load_networks, onnx
from nicodec.errors import DamagedPartError, ExportError, MissingPackageError, MissingPartError, UsageError
from nicodec.networks.functions import OF, Function, maps
from nicodec.rate.scale import RATE_MAX, TUNE_SPACING
from nicodec.training.graphs import make_graph
from nicodec.zoo.load import load_base, load_scales
from nicodec.zoo.store import find_package
from nicodec.zoo.stored import read_config

ROOT = Path(__file__).parents[1]
MODELS = ("tiny-full", "tiny-tunes")
RANGES = {"x": (0, 1), "picture": (0, 1), "linear": (-0.5, 0.5), "weight": (0, 1), "t": (0, 1), "step": (0.01, 0.1),
          "limit": (0.5, 1.5)}  # fmt: skip


def functions():
    """Every graph of the test models: part and name."""
    for model in MODELS:
        for kind, part in find_package(model).parts.items():
            for name in part.graphs:
                yield pytest.param(part, name, id=f"{model}-{kind}-{name}")


def examples(part, name):
    """Arrays for a function of a part: of a picture higher than the one that its graph was made with."""
    random = np.random.default_rng(0)
    networks = load_networks(part, "torch", "cpu")
    function = OF[part.kind](networks.module, name.endswith(onnx.MAPPED))[name.removesuffix(onnx.MAPPED)]
    for given, held in function.inputs.items():
        shape = [
            2 * side if at == max(held.free, default=-1) and side > 1 else side for at, side in enumerate(held.shape)
        ]
        if given == "rate":
            last = read_config(part).get("tunes", 1) - 1
            yield (random.uniform(0, RATE_MAX, shape) + last * TUNE_SPACING).astype(np.float32)
        elif given in RANGES:
            yield random.uniform(*RANGES[given], shape).astype(np.float32)
        else:
            yield (0.3 * random.standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize(("part", "name"), list(functions()))
def test_engines_agree_on_every_function(part, name):
    arrays = list(examples(part, name))
    ours, others = (
        networks(function, *arrays)
        for networks, function in (
            (load_networks(part, "onnx", "cpu"), name.removesuffix(onnx.MAPPED)),
            (load_networks(part, "torch", "cpu"), name.removesuffix(onnx.MAPPED)),
        )
    )
    for found, expected in zip(ours, others, strict=True):
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-4 * max(1, np.abs(expected).max())


def test_a_gradient_is_what_a_small_step_changes():
    part = find_package("tiny").parts["base"]
    networks, random = load_networks(part, "onnx", "cpu"), np.random.default_rng(1)
    y = random.standard_normal((1, read_config(part)["latent"], 8, 12)).astype(np.float32)
    x, weight, rate = random.random((1, 3, 128, 192), np.float32), np.ones((1, 1, 128, 192), np.float32), [20000]
    error = lambda at: float(networks("g_s_gradient", at, x, weight, np.array(rate, np.float32))[0][0])  # noqa: E731
    _, gradient = networks("g_s_gradient", y, x, weight, np.array(rate, np.float32))
    direction = gradient / np.sqrt(np.square(gradient).sum())
    slope = (error(y + 0.05 * direction) - error(y - 0.05 * direction)) / 0.1
    assert slope == pytest.approx(float((gradient * direction).sum()), rel=0.02)


@pytest.mark.parametrize("options", [
    {"model": "tiny-full"}, {"model": "tiny-full", "effort": 9}, {"model": "tiny-full", "references": 2},
    {"model": "tiny-32", "quality": 20}, {"model": "tiny-tunes", "tune": "eye", "effort": 4},
])  # fmt: skip
def test_engines_write_and_paint_the_same(options):
    """The same but for symbols whose floats stood between two whole numbers, and what these lead to in corrections."""
    if options.get("references") and "dictionary" not in find_package(options["model"]).parts:
        options = {**options, "model": "tiny-references"}
    image = pictures.image(200, 150)
    data, other = (
        nicodec.encode(image, drawn="off", device="cpu", engine=engine, **options) for engine in ("onnx", "torch")
    )
    symbols, others = (
        np.concatenate([held.latent.symbols.ravel() for held in OwnDecoder(file).symbols().values()])
        for file in map(read_file, (data, other))
    )
    assert (symbols != others).mean() <= 0.02
    assert np.abs(symbols - others).max() <= 2
    anchors = [{}, {"anchor": "perception"}] if options["model"] == "tiny-full" else [{}]
    ways = [*anchors, {"tau": 0.7, "steps": 2}] if "fuser" in find_package(options["model"]).parts else anchors
    for way in ways:
        pixels, expected = (
            np.asarray(nicodec.decode(data, device="cpu", engine=engine, **way)).astype(int)
            for engine in ("onnx", "torch")
        )
        assert np.abs(pixels - expected).max() <= 1, way


SHIPPED = """
import sys
from nicodec.cli.main import run
sys.argv = ["nicodec", *sys.argv[1:]]
try:
    run()
finally:
    print("torch" in sys.modules, "numpy" in sys.modules)
"""


@pytest.mark.parametrize("call", [
    "encode a.png -o b.nic", "encode a.png -o b.nic --effort 9",
    "encode a.png -o b.nic --reference a.nic", "decode a.nic -o b.png",
    "decode a.nic -o b.png --anchor perception --tau 0.7", "decode references.nic -o b.png --reference a.nic",
    "verify a.nic", "info a.nic",
])  # fmt: skip
def test_commands_on_the_cpu_import_no_torch(call, shipped):
    done = process(call, shipped)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2] == "False"


def test_view_on_the_cpu_imports_no_torch(shipped):
    """Nor where the page asks for all that it can show."""
    environment = {name: value for name, value in os.environ.items() if name != "NICODEC_MODELS"}
    view = subprocess.Popen(
        [sys.executable, "-c", SHIPPED, "view", "a.nic", "--no-browser"], cwd=shipped, text=True,
        env={**environment, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=hear_ctrl_c,
    )  # fmt: skip
    place = re.search(r"http://[^ ]+/", view.stderr.readline())[0]
    for asked in ("facts", "bits", "picture?box=0,0,150,100", "picture?box=0,0,150,100&anchor=perception&tau=0.7"):
        with urllib.request.urlopen(place + asked, timeout=60) as response:
            assert response.status == 200
    view.send_signal(signal.SIGINT)
    out, err = view.communicate(timeout=60)
    assert view.returncode == 0, err
    assert out.split()[-2:] == ["False", "True"]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A folder with a picture and files of the shipped model."""
    folder = tmp_path_factory.mktemp("shipped")
    pictures.image(150, 100).save(folder / "a.png")
    for call in (
        "encode a.png -o a.nic --drawn off",
        "encode a.png -o references.nic --reference a.nic --drawn off",
    ):
        assert process(call, folder).returncode == 0
    return folder


def process(call, folder, **environment):
    variables = {name: value for name, value in os.environ.items() if name != "NICODEC_MODELS"}
    return subprocess.run(
        [sys.executable, "-c", SHIPPED, *call.split(), *([] if call.startswith(("verify", "info")) else ["-f"])],
        cwd=folder, env={**variables, "PYTHONPATH": str(ROOT), **environment}, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize(("absent", "other"), [("onnxruntime", "torch"), ("torch", "onnx")])
def test_an_engine_that_is_not_installed_is_one_line(absent, other, shipped, tmp_path):
    """A finder that finds everything but one package stands for an environment without it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.machinery, sys\n"
        "find = importlib.machinery.PathFinder.find_spec\n"
        f"hidden = lambda name, *more: None if name.split('.')[0] == {absent!r} else find(name, *more)\n"
        "importlib.machinery.PathFinder.find_spec = hidden\n"
    )
    engine = "onnx" if absent == "onnxruntime" else "torch"
    done = process(f"decode a.nic -o c.png --engine {engine}", shipped, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.returncode == MissingPackageError.exit_code, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert f"--engine {other}" in done.stderr
    assert "pip install" in done.stderr
    assert process(f"decode a.nic -o c.png --engine {other}", shipped, PYTHONPATH=f"{tmp_path}:{ROOT}").returncode == 0


def test_graphs_that_are_not_the_manifests_are_refused(tmp_path, monkeypatch):
    source = find_package("tiny")
    shutil.copytree(source.folder, tmp_path / "tiny")
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path))
    part = find_package("tiny").parts["base"]
    graph = tmp_path / "tiny" / "graphs" / "base.g_a.onnx"
    content = graph.read_bytes()
    networks = onnx.OnnxNetworks(part, onnx.read_weights(part))
    x = np.zeros((1, 3, 64, 64), np.float32)
    for damaged in (content[:-1], content.replace(b"Conv", b"Conf"), b""):
        graph.write_bytes(damaged)
        with pytest.raises(DamagedPartError, match="reinstall the model"):
            networks("g_a", x)
    graph.unlink()
    with pytest.raises(DamagedPartError, match="cannot be read"):
        networks("g_a", x)
    with pytest.raises(MissingPartError, match="--engine torch"):
        networks("no_such", x)


def test_what_is_asked_for_and_cannot_be():
    with pytest.raises(UsageError, match="expected one of auto, onnx, torch"):
        nicodec.encode(pictures.image(64, 64), engine="jax", model="tiny")
    with pytest.raises(UsageError, match="runs on the CPU"):
        nicodec.encode(pictures.image(64, 64), engine="onnx", device="cuda", model="tiny")


@pytest.mark.parametrize("damaged", [b"", b"\x3a", b"\x3a\x80", b"\x80" * 20, b"\x32\x01\xff", bytes(9)])
def test_what_is_no_onnx_file_is_said_so(damaged):
    with pytest.raises(ValueError, match="no ONNX file"):
        onnx.weights_of(damaged)


def test_a_forked_child_encodes_after_its_parent(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    expected = nicodec.encode(pictures.image(100, 90), model="tiny", engine="onnx", drawn="off")
    child = os.fork()
    if child == 0:
        same = nicodec.encode(pictures.image(100, 90), model="tiny", engine="onnx", drawn="off") == expected
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_graph_is_made_of_what_is_installed(tiny):
    """What export writes now does what the graph that came with the model does."""
    function = OF["base"](load_base(tiny, "cpu"), False)["h_a"]
    made = onnx.OnnxNetworks(tiny, onnx.read_weights(tiny))
    session = made._start(make_graph(function, load_base(tiny, "cpu")))
    y, rate = examples(tiny, "h_a")
    (found,) = session.run(None, {"y": y, "rate": rate})
    assert np.array_equal(found, load_networks(tiny, "onnx", "cpu")("h_a", y, rate)[0])


def test_an_operator_that_no_graph_has_is_said(tiny):
    function = Function(lambda x: torch.fft.fft2(x).abs(), {"x": maps(3, 1)})
    with pytest.raises(ExportError, match="graph_ops"):
        make_graph(function, load_base(tiny, "cpu"))


def test_weights_of_a_part_are_not_in_its_graphs():
    part = find_package("tiny").parts["base"]
    assert set(onnx.weights_of(part.graph("g_s"))) > {"g_s.grow.weight", "g_s.embed.weight"}
    assert sum(len(part.graph(name)) for name in part.graphs) < 1 << 18
    assert load_scales(part).latent == read_config(part)["latent"]


def test_graphs_ask_for_halves_of_weights(tiny):
    """Where torch halves what a convolution gives, a graph has two convolutions, of halves of its weights."""
    base = load_base(tiny, "cpu")
    names = onnx.weights_of(make_graph(OF["base"](base, False)["g_s"], base))
    assert {"g_s.coarse.0.up.weight/0", "g_s.coarse.0.up.bias/1"} <= set(names)
    assert "g_s.coarse.0.up.weight" not in names
    weights = onnx.read_weights(tiny)
    halves = [onnx.weight_named(weights, f"g_s.coarse.0.up.weight/{half}") for half in range(2)]
    assert np.array_equal(np.concatenate(halves), onnx.weight_named(weights, "g_s.coarse.0.up.weight"))
    for unknown in ("g_s.coarse.0.up.weight/2", "no such/0"):
        with pytest.raises(KeyError):
            onnx.weight_named(weights, unknown)


def test_halves_of_anything_else_are_cut(tiny):
    """Of a depthwise convolution, of one whose weights are computed, and of one into three."""
    base = load_base(tiny, "cpu")
    first = base.g_s.coarse[0]
    down = lambda x: torch.nn.functional.conv2d(x, first.down.weight * 2)  # noqa: E731
    grouped = first.down.weight[:, :2].repeat(1, first.down.out_channels, 1, 1)
    x = torch.randn(1, 2 * first.down.out_channels, 4, 4)
    for call in (
        lambda x: first.depthwise(x[:, ::2]).chunk(2, 1),
        lambda x: down(x).chunk(2, 1),
        lambda x: first.up(x[:, ::2]).chunk(4, 1),
        lambda x: (torch.nn.functional.conv2d(torch.nn.functional.pixel_unshuffle(x[:, ::2], 2), grouped, groups=2),),
    ):
        session = onnx.OnnxNetworks(tiny, onnx.read_weights(tiny))._start(
            make_graph(Function(call, {"x": maps(x.shape[1], 1)}), base)
        )
        with torch.no_grad():
            expected = [part.numpy() for part in call(x)]
        for found, part in zip(session.run(None, {"x": x.numpy()}), expected, strict=True):
            assert np.allclose(found, part, atol=1e-5)
