"""JPEG as a base: the file comes back to the byte, its picture is as Pillow has it, and tau restores it."""

import io
import json
import struct
from dataclasses import replace

import numpy as np
import pictures
import pytest
import torch
import toy
from PIL import Image
from torch.nn import functional as F

import nicodec as package
from nicodec import errors
from nicodec.bench.codecs import make, missing
from nicodec.codec import crop_of, decode_bytes, decode_taus, encode_at, verify_bytes
from nicodec.container.layout import Section, SectionType
from nicodec.container.payloads import read_foreign
from nicodec.container.reader import read_file
from nicodec.container.writer import write_file, write_foreign
from nicodec.image.files import read_picture, write_picture
from nicodec.image.jpeg import BANDS, TOLD
from nicodec.memory import estimate_memory
from nicodec.networks.restorer import Restorer, RestorerConfig
from nicodec.options import DecodeOptions, EncodeOptions
from nicodec.zoo.load import load_base

pytestmark = pytest.mark.xdist_group("jpeg")


def jpeg(width=83, height=61, mode="RGB", **options):
    image = pictures.image(width, height, "L" if mode == "L" else "RGB").convert(mode)
    return pictures.file_bytes(image, "JPEG", **{"quality": 40, **options})


def exif(orientation=1):
    block = Image.Exif()
    block[0x0112], block[0x010F] = orientation, "a maker"
    return block.tobytes()


def grey_of_2x2():
    """Sampling factors of 2 in the only component: odd, but nothing forbids it."""
    data = jpeg(mode="L")
    at = data.index(b"\xff\xc0") + 11
    assert data[at] == 0x11
    return data[:at] + b"\x22" + data[at + 1 :]


def multiple():
    """A second picture behind the first, as some cameras write them."""
    first, second = pictures.image(40, 30), pictures.image(20, 10)
    return pictures.file_bytes(first, "MPO", save_all=True, append_images=[second])


FILES = {
    "plain": jpeg(), "grey": jpeg(mode="L"), "cmyk": jpeg(mode="CMYK"), "rgb-as-it-is": jpeg(keep_rgb=True),
    **{f"subsampled-{kind}": jpeg(subsampling=kind) for kind in ("4:4:4", "4:2:2", "4:2:0")},
    "progressive": jpeg(progressive=True), "optimised": jpeg(optimize=True, quality=5), "fine": jpeg(quality=100),
    "restarts": jpeg(restart_marker_blocks=2), "restarts-progressive": jpeg(restart_marker_rows=1, progressive=True),
    "own-tables": jpeg(qtables=[list(range(1, 65)), [99] * 64]), "odd-grey": grey_of_2x2(), "two-pictures": multiple(),
    "one-pixel": jpeg(1, 1), "narrow": jpeg(1, 300), "metadata": jpeg(exif=exif(), xmp=b"<x:xmpmeta/>", dpi=(72, 72)),
    "profile": jpeg(icc_profile=b"profile" * 20000), "comment": jpeg(comment=b"a comment"),
    "grey-profile-of-rgb": jpeg(icc_profile=bytes(16) + b"GRAY" + bytes(16) + b"acsp" + bytes(100)),
    "broken-exif": jpeg(exif=b"Exif\0\0nothing"), "behind-its-end": jpeg() + b"\xff\xd9 and more" + bytes(99),
    "filled-markers": jpeg().replace(b"\xff\xdb", b"\xff\xff\xff\xdb"),
    **{f"turned-{index}": jpeg(exif=exif(index)) for index in range(2, 9)},
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_the_bytes_come_back_and_the_picture_is_the_jpegs(name):
    data = FILES[name]
    encoded = package.encode(data, base="jpeg")
    assert len(encoded) < len(data) + 64
    assert data in encoded
    (decoded,) = decode_taus(encoded, DecodeOptions())
    assert write_picture(decoded, ".jpg") == (data, ())
    expected = read_picture(data, 0)
    assert np.array_equal(decoded.pixels, expected.pixels)
    assert [decoded.icc, decoded.exif, decoded.xmp] == [expected.icc, expected.exif, expected.xmp]
    assert set(read_file(encoded).sections) == {4}
    assert verify_bytes(encoded).jpeg_bytes == len(data)
    shown = package.decode(encoded)
    assert shown.info.keys() == {
        name
        for name, block in (("icc_profile", decoded.icc), ("exif", decoded.exif), ("xmp", decoded.xmp))
        if block is not None
    }


@pytest.mark.parametrize("name", FILES)
def test_pillow_opens_it_as_it_opens_the_jpeg(name, tmp_path):
    package.register_pillow_plugin()
    (tmp_path / "a.nic").write_bytes(package.encode(FILES[name], base="jpeg"))
    with Image.open(tmp_path / "a.nic") as image:
        before = image.mode, image.size, dict(image.info)
        image.load()
        assert (image.mode, image.size, dict(image.info)) == before
        assert np.array_equal(np.asarray(image), np.asarray(package.decode(tmp_path / "a.nic")))


def test_a_crop_and_a_scale_are_of_the_picture_and_a_jpeg_of_them_is_an_ordinary_one():
    data = FILES["turned-6"]
    encoded, whole = package.encode(data, base="jpeg"), read_picture(data).pixels
    (part,) = decode_taus(encoded, DecodeOptions(crop=(5, 7, 20, 30)))
    assert np.array_equal(part.pixels, whole[7:37, 5:25])
    (small,) = decode_taus(encoded, DecodeOptions(scale=4))
    assert small.pixels.shape == (21, 16, 3)
    for picture in (part, small, decode_bytes(encoded, DecodeOptions()).stripped(("exif",))):
        written, _ = write_picture(picture, ".jpg")
        assert written != data
        assert Image.open(io.BytesIO(written)).size == (picture.width, picture.height)


def test_what_is_no_jpeg_or_not_whole_is_refused():
    for given in (pictures.file_bytes(pictures.image(9, 9)), pictures.image(9, 9), np.zeros((9, 9), np.uint8)):
        with pytest.raises(errors.UnsupportedPictureError, match="no JPEG"):
            package.encode(given, base="jpeg")
    with pytest.raises(errors.UnsupportedPictureError, match="no JPEG"):
        package.encode(multiple(), base="jpeg", frame=1)
    for name in ("plain", "progressive", "grey"):
        data = FILES[name]
        for length in (20, len(data) // 2, len(data) - 30):
            with pytest.raises(errors.InputError):
                package.encode(data[:length], base="jpeg")
    with pytest.raises(errors.UnsupportedPictureError, match="not as it was"):
        package.encode(FILES["plain"][:-300], base="jpeg", allow_damaged=True)
    with pytest.raises(errors.UsageError, match="are another codec's"):
        EncodeOptions(base="jpeg", base_weights="x")
    with pytest.raises(errors.UsageError, match="one quality"):
        encode_at(read_picture(FILES["plain"]), EncodeOptions(base="jpeg"))
    with pytest.raises(errors.UsageError, match="no tokens"):
        package.decode(package.encode(FILES["plain"], base="jpeg"), anchor="perception")


def test_best_effort_shows_what_can_be_read(tmp_path):
    data = package.encode(jpeg(300, 200), base="jpeg")
    cut = data[: 2 * len(data) // 3]
    with pytest.raises(errors.CorruptFileError):
        decode_bytes(cut, DecodeOptions())
    picture = decode_bytes(cut, DecodeOptions(best_effort=True))
    assert picture.damage
    whole = decode_bytes(data, DecodeOptions()).pixels
    assert np.array_equal(picture.pixels[:64], whole[:64])
    assert write_picture(picture, ".jpg")[0][:2] == b"\xff\xd8"
    with pytest.raises(errors.CorruptFileError, match="damaged is not restored"):
        decode_bytes(cut, DecodeOptions(best_effort=True, taus=(1.0,)))


def test_a_jpeg_that_lies_about_its_sides_is_not_decoded():
    """Its pixels would take a quarter of a gigabyte, and the file's header says a few thousand."""
    data = package.encode(jpeg(), base="jpeg")
    file, inner = read_file(data), jpeg()
    at = inner.index(b"\xff\xc0") + 5
    larger = inner[:at] + struct.pack(">2H", 9000, 9000) + inner[at + 4 :]
    held = replace(read_foreign(file), strings=[larger])
    with pytest.raises(errors.CorruptFileError, match="9000x9000 pixels, expected 83x61"):
        decode_bytes(write_file(file.header, [Section(SectionType.FOREIGN, write_foreign(held))]), DecodeOptions())


def test_what_it_takes_is_estimated_without_networks_where_there_are_none():
    file = read_file(package.encode(jpeg(), base="jpeg"))
    crop = crop_of(file.header, None)
    plain, restored = (estimate_memory(file, DecodeOptions(restored=asked), crop) for asked in (False, True))
    assert plain < 128 << 20 < restored


def test_a_file_may_refer_to_one_that_keeps_a_jpeg(tmp_path):
    (tmp_path / "a.nic").write_bytes(package.encode(FILES["plain"], base="jpeg"))
    data = package.encode(pictures.another_shot(83, 61), references=[tmp_path / "a.nic"], model="tiny", drawn="off")
    assert package.read_info(data)["refers_to"]
    assert package.decode(data, references=[tmp_path / "a.nic"]).size == (83, 61)


def test_how_a_picture_was_quantised_is_told():
    plain = read_picture(FILES["plain"]).jpeg.quantised
    assert plain.shape == (TOLD,)
    assert (read_picture(FILES["fine"]).jpeg.quantised < 1e-6).sum() == 2 * BANDS
    assert [read_picture(FILES[f"subsampled-{kind}"]).jpeg.quantised[-1] for kind in ("4:4:4", "4:2:2", "4:2:0")] == [
        0, 1, 2,
    ]  # fmt: skip
    steps = np.array(Image.open(io.BytesIO(FILES["plain"])).quantization[0])
    for band, places in enumerate([[0], [1, 8], [2, 9, 16]]):
        assert np.isclose(plain[band] * 8, np.log2(steps[places]).mean())
    assert np.array_equal(*(read_picture(FILES["grey"]).jpeg.quantised[:-1].reshape(2, BANDS)))


@pytest.fixture(scope="module")
def restoring(tiny, tmp_path_factory):
    """The tiny model with a restorer of random weights, in a folder of its own."""
    folder = tmp_path_factory.mktemp("restoring")
    toy.add_restorer(folder, tiny)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NICODEC_MODELS", str(folder))
        yield folder


def test_tau_leads_from_a_mended_picture_along_a_line(restoring):
    data = package.encode(jpeg(130, 90), base="jpeg")
    own = decode_bytes(data, DecodeOptions()).pixels.astype(int)
    taken = decode_taus(data, DecodeOptions(taus=(0.0, 0.5, 1.0), restored=True))
    zero, half, one = (picture.pixels.astype(int) for picture in taken)
    assert all(picture.jpeg is None for picture in taken)
    assert np.abs(zero - own).max() > 1
    assert np.abs(one - zero).mean() > 0.5
    inside = (np.minimum(zero, one) > 0) & (np.maximum(zero, one) < 255)
    assert np.abs(zero + one - 2 * half)[inside].max() <= 2
    assert np.array_equal(np.asarray(package.decode(data, tau=0)), zero)
    assert np.array_equal(np.asarray(package.decode(data)), own)
    assert np.array_equal(np.asarray(package.decode(data, tau=1)), one)
    assert not np.array_equal(np.asarray(package.decode(data, tau=1, seed=1)), one)


def test_bench_measures_it_beside_the_plain_jpeg(restoring):
    image = pictures.image(130, 90)
    plain, natural = make("jpeg"), make("jpeg:tau=1")
    data = natural.encode(image, 20)
    assert data == plain.encode(image, 20)
    restored = package.decode(package.encode(data, base="jpeg"), tau=1)
    assert np.array_equal(np.asarray(natural.decode(data)), np.asarray(restored))
    assert natural.encoder.startswith(plain.encoder)
    assert missing("jpeg:tau=1") is None


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_a_crop_of_a_restored_picture_is_cut_out_of_it(restoring, turn):
    """Across the seam of two tiles."""
    data = jpeg(1101, 85, exif=exif(turn))
    encoded = package.encode(data, base="jpeg")
    whole = np.asarray(package.decode(encoded, tau=1, seed=3)).astype(int)
    box = (990, 10, 70, 50) if turn < 5 else (10, 990, 50, 70)
    part = np.asarray(package.decode(encoded, tau=1, seed=3, crop=box)).astype(int)
    left, top, width, height = box
    assert np.abs(whole[top : top + height, left : left + width] - part).max() <= 1


@pytest.mark.parametrize("turn", range(1, 9))
def test_where_the_blocks_lie_in_a_turned_picture(turn):
    """Of blocks that are flat, the edges say so."""
    y, x = np.mgrid[:61, :83] // 8
    flat = Image.fromarray(((x * 53 + y * 101 + x * y * 37) % 256).astype(np.uint8))
    picture = read_picture(pictures.file_bytes(flat, "JPEG", quality=90, exif=exif(turn)))
    pixels, (top, left) = picture.pixels[:, :, 0].astype(int), picture.jpeg.origin
    for lines, start in ((pixels, top), (pixels.T, left)):
        edges = 1 + np.flatnonzero(np.abs(np.diff(lines, axis=0)).max(1) > 8)
        assert len(edges) > 6
        assert {(edge + start) % 8 for edge in edges.tolist()} == {0}


def test_grey_stays_grey_and_both_engines_agree(restoring):
    encoded = package.encode(FILES["grey"], base="jpeg")
    onnx, torch_ = (np.asarray(package.decode(encoded, tau=1, engine=engine)) for engine in ("onnx", "torch"))
    assert onnx.ndim == 2
    assert np.abs(onnx.astype(int) - torch_).max() <= 1


def test_the_restorer_starts_as_the_bases_synthesis(tiny):
    base = load_base(tiny, "cpu")
    x, told = torch.rand(1, 3, 64, 64), torch.rand(1, TOLD + 1)
    y = base.g_a(x)
    with torch.no_grad():
        features = base.g_s.coarse(base.g_s.embed(base.g_s.ease(y / base.g_s.spread[:, None, None])))
        looked = base.g_s.ease(base.g_s.look(F.pixel_unshuffle(x - 0.5, 8)))
        expected = x + base.g_s.mended(base.g_s.fine(F.pixel_shuffle(base.g_s.grow(features), 2) + looked))
        for more in (0, 2):
            depths = {"depth_16": base.config.depth_16 + more, "depth_8": base.config.depth_8 + 1 + more}
            restorer = Restorer(RestorerConfig.on(base.config, **depths))
            restorer.start_from(base)
            assert torch.allclose(restorer(x, y, torch.zeros_like(y), told), expected, atol=1e-5)


def test_on_the_command_line(restoring, nicodec, inside, tmp_path):
    """Once as a process, which loads neither torch nor another codec."""
    data, environment = FILES["turned-6"], {"NICODEC_MODELS": str(restoring)}
    (tmp_path / "a.jpg").write_bytes(data)
    (tmp_path / "b.png").write_bytes(pictures.file_bytes(pictures.image(9, 9)))
    code, _, said = nicodec("encode", "a.jpg", "--base", "jpeg", "-o", "a.nic", environment=environment)
    assert (code, "exact" in said) == (0, True), said
    (tmp_path / "compressai.py").write_text("raise SystemExit(99)")
    (tmp_path / "torch.py").write_text("raise SystemExit(98)")
    code, out, said = nicodec("decode", "a.nic", "--format", "jpg", environment=environment)
    assert (code, out) == (0, data), said
    code, out, said = nicodec("restore", "a.jpg", "--tau", "0.7", "-o", "restored.png", environment=environment)
    assert code == 0, said
    assert inside("decode", "a.nic", "--tau", "0.7", "-o", "decoded.png")[0] == 0
    assert (tmp_path / "restored.png").read_bytes() == (tmp_path / "decoded.png").read_bytes()
    assert json.loads(inside("decode", "a.nic", "--tau", "0", "-o", "zero.jpg", "--json")[2])["tau"] == 0
    assert json.loads(inside("decode", "a.nic", "-o", "own.jpeg", "--json")[2])["tau"] is None
    assert (tmp_path / "own.jpeg").read_bytes() == data != (tmp_path / "zero.jpg").read_bytes()
    assert inside("restore", "a.jpg", "--tau", "0,1", "-o", "{tau}.png")[0] == 0
    assert {"0.png", "1.png"} <= {path.name for path in tmp_path.iterdir()}
    code, out, said = inside("verify", "a.nic")
    assert (code, f"{len(data)} bytes of a JPEG exact" in said) == (0, True)
    assert json.loads(inside("verify", "a.nic", "--json")[2])["jpeg_bytes"] == len(data)
    assert "the file as it was" in inside("info", "-v", "a.nic")[1].decode()
    for words in (("encode", "b.png", "--base", "jpeg", "-o", "b.nic"), ("restore", "b.png", "-o", "c.png")):
        code, _, said = inside(*words)
        assert (code, said.count("\n"), "no JPEG" in said) == (4, 1, True)


def test_without_a_restorer_one_line_says_so(tiny, tmp_path, inside, monkeypatch):
    monkeypatch.setattr("nicodec.zoo.store.search_path", lambda: [tiny.path.parents[1]])
    (tmp_path / "a.jpg").write_bytes(FILES["plain"])
    code, _, said = inside("restore", "a.jpg", "-o", "a.png")
    assert (code, said.count("\n"), "no model with a restorer part" in said) == (9, 1, True)
    assert "no model with a restorer part" in missing("jpeg:tau=0")


def test_restore_reports_the_photograph_itself(restoring, inside, tmp_path):
    (tmp_path / "two.jpg").write_bytes(multiple())
    said = json.loads(inside("restore", "two.jpg", "-o", "two.png", "--json", "--device", "cpu")[2])
    assert said["bytes"] == len(multiple())
    assert "2 pictures" in said["warnings"][0]
    (tmp_path / "cmyk.jpg").write_bytes(FILES["cmyk"])
    said = json.loads(inside("restore", "cmyk.jpg", "-o", "cmyk.png", "--json", "--device", "cpu")[2])
    assert len(said["warnings"]) == len(set(said["warnings"])) == 1
    assert "warning" in inside("restore", "two.jpg", "-o", "two.png", "-f", "--device", "cpu")[2]


@pytest.mark.parametrize("asked", [{"streams": "sq"}, {"robust": True}, {"token_bits": 3}])
def test_a_jpeg_that_is_kept_has_no_streams_to_choose(asked):
    with pytest.raises(errors.UsageError, match="keeps the file as it is"):
        EncodeOptions(base="jpeg", **asked)
