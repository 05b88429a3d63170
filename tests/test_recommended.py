"""The tau that a file recommends: chosen by the encoder, kept in the header, followed where nobody says otherwise."""

import json

import numpy as np
import pictures
import pytest
import torch
import toy
from PIL import Image

import nicodec
from nicodec import errors
from nicodec.container.reader import read_file
from nicodec.latents.geometry import to_input
from nicodec.recommend import TAUS
from nicodec.zoo.load import load_base, load_scales, load_texture
from nicodec.zoo.manifest import read_manifest
from nicodec.zoo.model import Model

CODED = {"model": "textured", "quality": 20, **toy.CODED}


@pytest.fixture(scope="module", autouse=True)
def textured(tiny, tmp_path_factory):
    """A package with tokens of texture and a fuser."""
    folder = toy.renamed(tiny, tmp_path_factory.mktemp("models") / "textured")
    base = load_base(tiny, "cpu")
    toy.add_texture(folder, base, load_scales(tiny).magnitude)
    torch.manual_seed(1)
    toy.add_fuser(folder, base)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NICODEC_MODELS", str(folder.parent))
        yield folder


def decode(data, **options):
    return np.asarray(nicodec.decode(data, **{"anchor": "perception", "seed": 1, "device": "cpu", **options}))


@pytest.fixture(scope="module")
def image():
    return pictures.grainy(192, 128)


@pytest.fixture(scope="module")
def files(image, textured):
    """A file without and with a recommendation."""
    return nicodec.encode(image, **CODED), nicodec.encode(image, recommend=True, **CODED)


def test_it_takes_two_bytes_and_changes_nothing_else(files):
    plain, told = map(read_file, files)
    assert (plain.header.hint, nicodec.read_info(files[0])["hint"]) == (None, None)
    assert nicodec.read_info(files[1])["hint"] == {"anchor": "perception", "tau": told.header.hint.tau_percent / 100}
    assert (told.size, told.sections.keys()) == (plain.size + 2, plain.sections.keys())
    assert all(told.payload(kind) == plain.payload(kind) for kind in plain.sections)


def test_it_is_followed_where_nobody_says_otherwise(files, image):
    plain, told = files
    tau = nicodec.read_info(told)["hint"]["tau"]
    assert np.array_equal(decode(told, tau="auto"), decode(told, tau=tau))
    for asked in ({"tau": "auto"}, {}):
        assert np.array_equal(decode(told, **asked), decode(told, tau=tau))
        assert np.array_equal(decode(plain, **asked), decode(plain, tau=0.7))
    fidelity = {"anchor": "fidelity"}
    assert np.array_equal(decode(plain, tau="auto", **fidelity), decode(plain, tau=0))
    assert np.array_equal(decode(told, tau="auto", **fidelity), decode(told, tau=tau, **fidelity))
    assert np.array_equal(decode(told, **fidelity), decode(told, tau=0))
    bare, known = nicodec.encode(image, references=[plain], **CODED), {"references": [plain]}
    assert np.array_equal(decode(bare, **known), decode(bare, tau=0.7, **known))  # without tokens tau is all it has
    assert not np.array_equal(decode(bare, **known), decode(bare, tau=0, **known))
    old = nicodec.encode(image, **{**CODED, "streams": "sq"})
    assert np.array_equal(decode(old, tau="auto", **fidelity), decode(old, tau=0, **fidelity))


def test_a_call_says_as_json_how_it_decoded(files, inside, tmp_path):
    for name, data in zip(("plain", "told"), files, strict=True):
        (tmp_path / f"{name}.nic").write_bytes(data)
    recommended = nicodec.read_info(files[1])["hint"]["tau"]

    def said(*words):
        fields = json.loads(inside("decode", *words, "-f", "--json")[2])
        return fields["anchor"], fields["tau"]

    assert said("plain.nic", "-o", "a.png") == ("fidelity", 0)
    assert said("told.nic", "-o", "a.png") == ("fidelity", 0)
    assert said("plain.nic", "-o", "a.png", "--anchor", "perception") == ("perception", 0.7)
    assert said("told.nic", "-o", "a.png", "--anchor", "perception") == ("perception", recommended)
    assert said("told.nic", "-o", "a.png", "--tau", "auto") == ("fidelity", recommended)
    assert said("told.nic", "-o", "a-{tau}.png", "--tau", "0,0.5") == ("fidelity", [0, 0.5])


def test_it_is_the_tau_whose_picture_has_the_originals_texture(files, image, textured):
    model = Model.named("textured")
    texture = load_texture(read_manifest(textured / "model.toml").parts["texture"])

    def lost(pixels):
        of = (model.base.g_a(to_input(np.asarray(each))) for each in (image, pixels))
        return np.square(texture.ratios(*of)).mean()

    seed = {"seed": None, "device": "cpu", "anchor": "perception"}
    every = [lost(nicodec.decode(files[1], tau=tau, **seed)) for tau in TAUS]
    chosen = every[TAUS.index(nicodec.read_info(files[1])["hint"]["tau"])]
    assert chosen <= min(every) * 1.02  # the noise is another file's: its seed is of all bytes
    assert max(every) > min(every) * 1.02


def test_the_command_line_knows_it(image, nicodec, tmp_path):
    image.save(tmp_path / "a.png")
    model = ("--model", "textured", "--device", "cpu")
    code, _, err = nicodec("encode", "a.png", "-o", "a.nic", "--recommend", "--target-size", "2KB", *model)
    assert (code, err.count("\n")) == (0, 1), err
    assert (tmp_path / "a.nic").stat().st_size <= 2000
    tau = read_file((tmp_path / "a.nic").read_bytes()).header.hint.tau_percent / 100
    assert f"recommends: perception anchor, tau {tau:g}" in nicodec("info", "-v", "a.nic")[1].decode()
    for name, asked in (("auto.png", "auto"), ("same.png", str(tau))):
        assert nicodec("decode", "a.nic", "-o", name, "--tau", asked, "--anchor", "perception")[0] == 0
    assert (tmp_path / "auto.png").read_bytes() == (tmp_path / "same.png").read_bytes()
    code, _, err = nicodec("decode", "a.nic", "-o", "a-{tau}.png", "--tau", "auto")
    assert (code, "leave {tau} out of" in err) == (2, True)


def test_batches_know_it(image, nicodec, tmp_path):
    (tmp_path / "pictures").mkdir()
    image.save(tmp_path / "pictures" / "a.png")
    options = ("--workers", "1", "--device", "cpu")
    assert nicodec("batch", "encode", "pictures", "coded", "--recommend", "--model", "textured", *options)[0] == 0
    (file,) = (tmp_path / "coded").rglob("*.nic")
    tau = read_file(file.read_bytes()).header.hint.tau_percent / 100
    for folder, asked in (("auto", ("--tau", "auto")), ("unsaid", ()), ("same", ("--tau", str(tau)))):
        assert nicodec("batch", "decode", "coded", folder, "--anchor", "perception", *asked, *options)[0] == 0
    auto, unsaid, same = (next((tmp_path / name).rglob("*.png")).read_bytes() for name in ("auto", "unsaid", "same"))
    assert auto == unsaid == same


def test_pictures_of_any_kind_have_one(image):
    """Grey, of less than a block, and with a part that is drawn; not where nothing is left to the networks."""
    flat = image.copy()
    flat.paste("white", (0, 0, 96, 128))
    for picture in (image.convert("L"), image.crop((0, 0, 40, 25)), flat):
        assert nicodec.read_info(nicodec.encode(picture, recommend=True, **{**CODED, "drawn": "auto"}))["hint"]
    exact = nicodec.encode(Image.new("RGB", (64, 64), "white"), recommend=True, **{**CODED, "drawn": "auto"})
    assert nicodec.read_info(exact)["hint"] is None


def test_what_has_no_tau_to_recommend_is_refused(image):
    with pytest.raises(errors.UsageError, match="no perception anchor"):
        nicodec.encode(image, recommend=True, **{**CODED, "streams": "sq"})
    for options in ({"base": "jpeg"}, {"drawn": "all"}, {"streams": "vq"}):
        with pytest.raises(errors.UsageError, match="no tau to recommend"):
            nicodec.encode(image, recommend=True, **{**CODED, **options})
    with pytest.raises(errors.MissingPartError, match="no texture part"):
        nicodec.encode(image, recommend=True, **{**CODED, "model": "base1"})
