"""Tokens of texture: what they mean, which ones an encoder chooses, and what is painted with them."""

import os
import shutil
from dataclasses import asdict, replace

import numpy as np
import pictures
import pytest
import slow_decoder
import torch
import toy

import nicodec
from nicodec import errors
from nicodec.bases.own_decoder import OwnDecoder
from nicodec.bases.own_encoder import OwnEncoder
from nicodec.codec import decode_bytes
from nicodec.container.layout import Anchor, Box, SectionType
from nicodec.container.reader import read_file
from nicodec.container.writer import write_file
from nicodec.engines.torch import TorchNetworks
from nicodec.entropy.tokens import node_costs, token_costs
from nicodec.latents import wording
from nicodec.latents.floats import FloatPath
from nicodec.latents.geometry import HALO
from nicodec.latents.texture import Texture, smooth
from nicodec.look.session import Session
from nicodec.networks.base import Base, BaseConfig
from nicodec.options import DecodeOptions, EncodeOptions
from nicodec.painters.experts import Experts
from nicodec.painters.fuser import load_fuser, told
from nicodec.painters.strength import plain
from nicodec.painters.synthesis import TEXTURE_REACH
from nicodec.rate.scale import RATE_MAX, TUNE_SPACING
from nicodec.training.graphs import write_graphs
from nicodec.zoo.load import load_base, load_prior, load_scales, load_texture
from nicodec.zoo.load import load_fuser as read_fuser
from nicodec.zoo.manifest import read_manifest
from nicodec.zoo.model import Model
from nicodec.zoo.store import find_package

pytestmark = pytest.mark.xdist_group("texture")

GROUPS = np.array([-1, 0, 0, 1, 1, 1, 2, 2])
CENTRES = np.linspace(-0.5, 0.8, 12, dtype=np.float32).reshape(4, 3)
SMALL = Texture(GROUPS, CENTRES, np.array([1, 2, 3, 4], np.float32), 1e-6, 2)
NONE, ALL = np.zeros(1, np.float32), np.ones(1, np.float32)
MASK = np.tile(np.linspace(0, 255, 64, dtype=np.uint8), (8, 1))
WAYS = {"plain": {"model": "textured"}, "eye": {"model": "textured-tunes"},
        "psnr-map": {"model": "textured-tunes", "tune": "psnr", "roi": MASK}}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def models(tiny, tmp_path_factory):
    """Packages `textured`, of one tune, and `textured-tunes`, of two, with a fuser each; one without; and `told`.

    The fuser of the last hears the tokens, and has its graphs. The last two lie apart, for all have the same base.
    """
    folder = tmp_path_factory.mktemp("models")
    told = folder / "hearing" / "told"
    for package in (folder / "textured", told, folder / "alone" / "fuserless"):
        toy.renamed(tiny, package)
    toy.make_two_tunes(folder, "textured-tunes", tiny)
    for package in (folder / "textured", folder / "textured-tunes", told, folder / "alone" / "fuserless"):
        part = read_manifest(package / "model.toml").parts["base"]
        base = load_base(part, "cpu")
        toy.add_texture(package, base, load_scales(part).magnitude)
        if package.name != "fuserless":
            torch.manual_seed(1)
            texture = read_manifest(package / "model.toml").parts["texture"] if package == told else None
            toy.add_fuser(package, base, texture)
    write_graphs(told, ["fuser"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NICODEC_MODELS", str(folder))
        yield folder


@pytest.fixture
def hearing(models, monkeypatch):
    """The model whose fuser hears the tokens, and no other on its base."""
    monkeypatch.setenv("NICODEC_MODELS", str(models / "hearing"))
    return "told"


@pytest.fixture(params=["textured", "told"])
def model(request):
    """One whose fuser does not hear the tokens, and one whose does."""
    return request.getfixturevalue("hearing") if request.param == "told" else request.param


def encode(image, **options):
    return nicodec.encode(image, **{"model": "textured", "quality": 20, **toy.CODED, **options})


def decode(data, **options):
    return np.asarray(nicodec.decode(data, **{"device": "cpu", "seed": 1, **options})).astype(int)


def tokens_of(data):
    return [held.tokens for held in OwnDecoder(read_file(data)).symbols().values()]


def scrambled(data, model="textured"):
    """The file with its tokens in another order, under the header of before."""
    decoder = OwnDecoder(read_file(data))
    (held,) = decoder.symbols().values()
    encoder = OwnEncoder(Model.named(model, device="cpu"), EncodeOptions(model=model, device="cpu"))
    other = replace(held, tokens=np.ascontiguousarray(held.tokens[::-1, ::-1]))
    return write_file(decoder.file.header, encoder.sections([other]))


def without_tokens(data):
    file = read_file(data)
    return write_file(file.header, [*file.without_tokens.sections.values()])


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS.keys())
def test_the_slow_decoder_reads_the_same_tokens(options):
    data = encode(pictures.image(130, 90), **options)
    file, parts = read_file(data), find_package(options["model"]).parts
    assert file.header.version == 2
    assert file.sections.keys() == {SectionType.SQ, SectionType.TEXTURE}
    assert file.header.mapped == (options["model"] == "textured-tunes")
    slow = slow_decoder.decode_tokens(data, parts["base"].read(), parts["texture"].read())
    for found, expected in zip(tokens_of(data), slow, strict=True):
        assert np.array_equal(found, expected)
        assert len({*found.ravel().tolist()}) > 2
    assert nicodec.read_info(data)["tokens"] == {"texture": parts["texture"].id.hex(), "prior": "sq", "bits": 3}


def test_streams_are_what_was_asked_for():
    image = pictures.image(80, 80)
    assert read_file(encode(image, streams="sq+vq")).sections.keys() == {SectionType.SQ, SectionType.TEXTURE}
    alone = read_file(encode(image, streams="sq"))
    assert (alone.header.version, alone.sections.keys()) == (1, {SectionType.SQ})
    assert max(tokens.max() for tokens in tokens_of(encode(image, token_bits=1))) == 1
    for options in ({"streams": "vq"}, {"robust": True, "streams": "sq+vq"}):
        with pytest.raises(errors.MissingPartError, match="no vq part"):
            encode(image, **options)
    with pytest.raises(errors.UsageError, match="token bits are 4"):
        encode(image, token_bits=4)


def test_only_the_perception_anchor_paints_with_tokens_and_only_where_tau_leads(model):
    data = encode(pictures.image(150, 100), model=model)
    other, bare = scrambled(data, model), without_tokens(data)
    for options in ({}, {"tau": 1.0}, {"anchor": "perception", "tau": 0.0}):
        painted = [decode(file, **options) for file in (data, other, bare)]
        assert np.array_equal(painted[0], painted[1])
        assert np.array_equal(painted[0], painted[2])
    half, whole, of_other, without = (
        decode(file, anchor="perception", tau=tau) for file, tau in ((data, 0.5), (data, 1), (other, 1), (bare, 1))
    )
    for first, second in ((whole, half), (whole, of_other), (whole, without)):
        assert np.abs(first - second).mean() > 0.1


def test_without_a_fuser_tau_leads_to_the_texture_alone(models, monkeypatch):
    monkeypatch.setenv("NICODEC_MODELS", str(models / "alone"))
    data = encode(pictures.image(100, 80), model="fuserless")
    plain, textured = (decode(data, anchor="perception", tau=tau) for tau in (0, 1))
    assert np.abs(plain - textured).mean() > 0.1
    with pytest.raises(errors.MissingPartError, match="no fuser"):
        decode(data, tau=1)


def test_a_file_decodes_faithfully_where_its_texture_part_is_not_installed(tiny, tmp_path, monkeypatch):
    data = encode(pictures.image(100, 80))
    expected = decode(data)
    shutil.copytree(tiny.path.parent, tmp_path / "tiny")
    monkeypatch.setenv("NICODEC_MODELS", str(tmp_path))
    assert np.array_equal(decode(data), expected)
    with pytest.raises(errors.MissingPartError, match="texture"):
        decode(data, anchor="perception", tau=1)


def test_the_graph_hears_what_the_network_hears(hearing):
    data = encode(pictures.image(150, 100), model=hearing)
    by_graph, by_network = (decode(data, anchor="perception", tau=1, engine=engine) for engine in ("onnx", "torch"))
    assert np.abs(by_graph - by_network).max() <= 1


def test_tokens_of_another_part_are_not_heard(models):
    """The file's own part says what they mean; the fuser was told of another's."""
    parts = read_manifest(models / "hearing" / "told" / "model.toml").parts
    hearing, deaf = (load_fuser(parts["fuser"], "torch", "cpu", id_) for id_ in (parts["texture"].id, bytes(8)))
    assert (hearing.hears, deaf.hears, hearing.groups == deaf.groups > 0) == (True, False, True)


def test_a_fuser_says_how_strongly_the_tokens_that_it_hears_act(models):
    parts = read_manifest(models / "hearing" / "told" / "model.toml").parts
    hearing, deaf = (load_fuser(parts["fuser"], "torch", "cpu", id_) for id_ in (parts["texture"].id, bytes(8)))
    for rate in (0, 30000, RATE_MAX):
        found, usual = hearing.strength(rate), plain(rate)
        mapped = torch.full((1, 2, 2), float(TUNE_SPACING + rate))
        strengths = read_fuser(parts["fuser"], "cpu").strengths.requires_grad_(False)
        reach, _ = strengths.reach_and_price(mapped)
        heard, led, textured = strengths.at(mapped)
        expected = (heard, reach * led, reach * textured)
        for value, of_training in zip((found.heard, found.led, found.textured), expected, strict=True):
            assert np.allclose(value, of_training[0, :, 0, 0], atol=1e-6)
        assert len(found.led) == len(found.textured) + 1 == hearing.groups + 1
        for other in (deaf.strength(rate), replace(hearing, anchored=False).strength(rate)):
            assert (other.heard, other.led, other.textured) == (usual.heard, usual.led, usual.textured)


def test_what_tokens_say_is_flagged():
    code = np.full((1, 3, 2, 2), np.nan, np.float32)
    code[:, :, 0, 1] = 0.5
    said = told(code, 2)
    assert said.shape == (1, 4, 4, 4)
    assert np.array_equal(said[0, 3], np.kron([[0, 1], [0, 0]], np.ones((2, 2))))
    assert np.array_equal(said[0, 0], 0.5 * said[0, 3])


def test_a_crop_is_cut_out_of_the_whole(model):
    check_crop(encode(pictures.image(1200, 150), model=model))


def test_a_crop_is_cut_out_of_the_whole_of_a_mapped_file():
    check_crop(encode(pictures.image(1200, 150), **WAYS["eye"]))


def check_crop(data):
    """A part of what the perception anchor paints is a crop of all of it."""
    whole = decode(data, anchor="perception", tau=1)
    part = decode(data, anchor="perception", tau=1, crop=(900, 30, 200, 60))
    assert np.abs(whole[30:90, 900:1100] - part).max() <= 1


def test_a_tile_without_tokens_leaves_its_neighbours_whole():
    data = encode(pictures.image(1200, 150))
    file = read_file(data)
    broken = bytearray(file.payload(SectionType.TEXTURE))
    broken[-1] ^= 1
    texture = replace(file.sections[SectionType.TEXTURE], payload=bytes(broken))
    damaged = write_file(file.header, [file.sections[SectionType.SQ], texture])
    with pytest.raises(errors.CorruptFileError, match="tile 1 of the TEXTURE section"):
        decode(damaged, anchor="perception", tau=1)
    how = {"anchor": "perception", "taus": (1.0,), "seed": 1, "device": "cpu", "best_effort": True}
    whole, found = (decode_bytes(file, DecodeOptions(**how)).pixels.astype(int) for file in (data, damaged))
    far = 1024 - 16 * TEXTURE_REACH
    assert np.abs(found[:, :far] - whole[:, :far]).max() <= 1
    assert np.abs(found[:, 1040:] - decode(data, tau=1)[:, 1040:]).max() <= 1, "without tokens it is led as ever"
    assert np.abs(found[:, 1040:] - whole[:, 1040:]).mean() > 0.1


def test_the_halo_covers_what_texture_sees():
    torch.manual_seed(0)
    base = Base(BaseConfig(latent=8, hyper=4, wide_8=8, wide_16=8, context=8, scale_context=8))
    for parameter in base.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    halo, random = HALO + TEXTURE_REACH, np.random.default_rng(0)
    near = [random.standard_normal((1, c, n, n), np.float32) for c, n in ((8, 4 * halo), (3, 2 * halo))]
    far = [maps.copy() for maps in near]
    far[0][:, :, :halo], far[1][:, :, : halo // 2] = 0, 0
    path = FloatPath.of(TorchNetworks("base", base.requires_grad_(False), "cpu"), asdict(base.config))
    experts, rate = Experts(path, texture=SMALL), np.array([30000], np.float32)
    first, second = (experts.paint(Anchor.PERCEPTION, *of, rate, of[0], (1.0,))[0] for of in (near, far))
    assert not np.array_equal(first[:, :, : 16 * halo], second[:, :, : 16 * halo])
    assert np.array_equal(first[:, :, 32 * halo :], second[:, :, 32 * halo :])


def test_texture_gives_each_group_the_energy_that_tokens_say():
    random = np.random.default_rng(1)
    y, said = random.normal(0, 1, (1, 8, 4, 6)).astype(np.float32), random.normal(0, 0.3, (1, 3, 1, 1))
    said = np.broadcast_to(said, (1, 3, 2, 3)).astype(np.float32)
    assert np.allclose(SMALL.textured(y, y, said, NONE), y)
    found = SMALL.textured(y, y, said, ALL)
    assert np.array_equal(found[:, 0], y[:, 0]), "what is in no group stays"
    assert np.allclose(SMALL.ratios(found, y), said[0], atol=1e-3)
    half = SMALL.textured(y, y, said, ALL / 2)
    assert np.allclose(SMALL.ratios(half, y), said[0] / 2, atol=1e-3)
    assert np.allclose(SMALL.textured(y, y, np.full_like(said, np.nan), ALL), y)
    assert np.abs(SMALL.textured(y, y, np.full_like(said, 20), ALL) / y).max() < 3.01, "gains are bounded"


def test_between_cells_gains_are_linear():
    cells = np.array([[[0, 4], [8, 12]]], np.float32)
    expected = np.array([[0, 1, 3, 4], [2, 3, 5, 6], [6, 7, 9, 10], [8, 9, 11, 12]], np.float32)
    assert np.array_equal(smooth(cells, 2)[0], expected)
    assert smooth(cells, 1) is cells


def test_what_tokens_cost_is_known_before_they_are_chosen():
    data = encode(pictures.image(130, 90))
    (held,) = OwnDecoder(read_file(data)).symbols().values()
    prior = load_prior(find_package("textured").parts["texture"])
    for depth in (1, 3):
        tokens = held.tokens >> (3 - depth)
        costs = node_costs(prior, tokens.shape, depth, held.latent)
        chosen = np.take_along_axis(costs, tokens[..., None].astype(int), 2)[..., 0]
        assert np.allclose(chosen, token_costs(prior, tokens, depth, held.latent), atol=1e-3)


def test_a_token_is_as_cheap_as_it_is_near(monkeypatch):
    image, prior = pictures.image(250, 200), load_prior(find_package("textured").parts["texture"])
    bits = []
    for worth in (0.0, 3.0, 1e6):
        monkeypatch.setattr(wording, "DISTANCE_PER_BIT", worth)
        (held,) = OwnDecoder(read_file(encode(image))).symbols().values()
        bits.append(token_costs(prior, held.tokens, 3, held.latent).sum())
    assert bits[0] > bits[1] > bits[2]


def test_tokens_say_what_texture_the_base_lost():
    data = encode(pictures.image(130, 90), token_bits=3)
    (tokens,), book = tokens_of(data), load_texture(find_package("textured").parts["texture"])
    assert book.lookup(tokens, 3).shape == (1, book.code, *tokens.shape)
    assert tokens.shape == (4, 6), "a cell of 32 pixels"


def test_the_page_shows_both_anchors():
    data = encode(pictures.image(100, 80))
    session = Session(data, "cpu")
    assert session.facts()["anchors"] == ["fidelity", "perception"]
    shown = session.render("perception", 1.0, 1, Box(0, 0, 100, 80)).astype(int)
    assert np.abs(shown - np.asarray(nicodec.decode(data, anchor="perception", tau=1, device="cpu"))).max() <= 1


def test_texture_is_made_for_a_frozen_base(inside, data, tiny, tmp_path, monkeypatch):
    toy.renamed(tiny, tmp_path / "own")
    call = ["train", "texture", "--data", data, "-o", "own", "--bits", 2, "--steps", 1]
    code, _, said = inside(*call)
    assert (code, "a texture part of" in said) == (0, True), said
    assert inside(*call)[0] == errors.OutputExistsError.exit_code
    monkeypatch.setenv("NICODEC_MODELS", os.pathsep.join([str(tmp_path), str(tiny.path.parents[1])]))
    coded = encode(pictures.image(90, 70), model="own")
    assert decode(coded, anchor="perception", tau=0).shape == (70, 90, 3)
    assert decode(coded, anchor="perception", tau=1).shape == (70, 90, 3)
    assert max(tokens.max() for tokens in tokens_of(coded)) <= 3
