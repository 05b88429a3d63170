"""Write the golden files and what they must decode to. Run once for each new file; existing ones are never replaced.

python tests/make_golden.py
"""

import json
import sys
import zlib
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

TESTS = Path(__file__).parent
FOLDER = TESTS / "golden"
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

import numpy as np  # noqa: E402
import pictures  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

import nicodec  # noqa: E402
from nicodec.bases.own_decoder import OwnDecoder  # noqa: E402
from nicodec.container.dictionary import Dictionary, Entry, write_dictionary  # noqa: E402
from nicodec.container.info import describe  # noqa: E402
from nicodec.container.layout import Anchor, Hint, Section, SectionType  # noqa: E402
from nicodec.container.reader import read_file  # noqa: E402
from nicodec.container.writer import write_file, write_header, write_section, write_tiles  # noqa: E402
from nicodec.networks.trust import TrustConfig  # noqa: E402
from nicodec.references.look import look  # noqa: E402
from nicodec.streams import code_latent  # noqa: E402
from nicodec.training.export import write_part  # noqa: E402
from nicodec.training.graphs import write_graphs  # noqa: E402
from nicodec.training.trust import TrustStage  # noqa: E402
from nicodec.zoo.load import base_config, load_base, load_scales  # noqa: E402
from nicodec.zoo.manifest import write_manifest  # noqa: E402
from nicodec.zoo.store import find_package, find_part  # noqa: E402

BOTH = {"model": "tiny-full"}
EYE, PSNR = {"model": "tiny-tunes"}, {"model": "tiny-tunes", "tune": "psnr"}
RAMP = np.arange(0, 256, 5, np.uint8)[None]  # a mask, from black on the left to white
REFERRING = {"model": "tiny-references"}
TEXTURED = {"model": "tiny-texture", "drawn": "off"}
PERCEPTION = {"anchor": "perception"}
DICTIONARY = "two-pictures.nicdict"
SEARCHING = {"dictionaries": [FOLDER / DICTIONARY], "drawn": "off"}
FOUR = {"steps": 4}


def with_metadata(image):
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    image.info.update(icc_profile=b"not a profile, but bytes", exif=exif.tobytes(), xmp=b"<x:xmpmeta/>" * 20)
    return image


def with_alpha(plane):
    height, width = plane.shape
    return Image.fromarray(np.dstack([pictures.scene(width, height), plane.astype(np.uint8)]))


def hinted(data):
    """The file of a 16-bit source, with a recommended way to decode, which this one's encoder was not asked for."""
    file = read_file(data)
    return write_file(
        replace(file.header, bit_depth=16, hint=Hint(Anchor.PERCEPTION, 70)), list(file.sections.values())
    )


def with_unknown_section(data):
    """The file with a section of a type to come, which this version is allowed to skip."""
    file = read_file(data)
    known = b"".join(write_section(section, last=False) for section in file.sections.values())
    later = bytearray(write_section(Section(40, b"of a version to come"), last=True))
    later[0] |= 0x80
    crc = zlib.crc32(bytes(later[:-4]))
    return write_header(file.header) + known + bytes(later[:-4]) + crc.to_bytes(4, "little")


def with_extreme_symbols(data):
    """The file with symbols that only escapes can code, the largest and the smallest among them."""
    file = read_file(data)
    scales = load_scales(find_part("base", file.header.base_id))
    (held,) = OwnDecoder(file).symbols().values()
    symbols = held.latent.symbols.copy()
    symbols[1, 2, ::7], symbols[3, 3, 5], symbols[0, 0, 0] = 1000, 32767, -32768
    tile = code_latent(scales, replace(held.latent, symbols=symbols), verify=True)
    return write_file(file.header, [Section(SectionType.SQ, write_tiles([tile]))])


def two_halves():
    """The left half of one golden picture beside the right half of another."""
    left, right = pictures.scene(96, 80)[:64, :64], pictures.scene(50, 90)[:64, :48]
    return Image.fromarray(np.concatenate([left, right], 1))


def split_shot():
    """A golden picture of which a part, that is no whole block of 32x32, lies elsewhere."""
    pixels = np.asarray(Image.open(FOLDER / "rgb-96x80-q50.png"))
    moved = pixels.copy()
    moved[24:64, 40:72] = pixels[30:70, 29:61]
    return Image.fromarray(moved)


def turned_jpeg():
    """A JPEG file that is to be shown turned, with a profile, restart markers, and bytes behind its end."""
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif.tobytes(), "icc_profile": b"not a profile, but bytes", "restart_marker_blocks": 3}
    return pictures.file_bytes(pictures.image(52, 37), "JPEG", quality=40, subsampling=0, **options) + b"and more"


def to(*names):
    """Refer to golden files, and draw nothing."""
    return {"references": [FOLDER / name for name in names], "drawn": "off"}


y, x = np.mgrid[:20, :24]
# Name: picture, how it is encoded, what is done to the file, and how it is decoded: (suffix of the PNG, arguments).
CASES = {
    "rgb-96x80-q50": (pictures.image(96, 80), {"quality": 50}),
    "rgb-1x1-q60": (pictures.image(1, 1), {}),
    "rgb-65x63-q0": (pictures.image(65, 63), {"quality": 0}),
    "rgb-64x64-q100": (pictures.image(64, 64), {"quality": 100}),
    "rgb-130x20-q33.3": (pictures.image(130, 20), {"quality": 33.3}),
    "grey-70x64-q70": (pictures.image(70, 64, "L"), {"quality": 70}),
    "rgb-1100x70-q20": (pictures.image(1100, 70), {"quality": 20}),
    "rgba-50x90-q40": (pictures.image(50, 90, "RGBA"), {"quality": 40}),
    "extreme-symbols": (pictures.image(64, 64), {}),
    "effort9-60x40": (pictures.image(60, 40), {"quality": 30, "effort": 9}),
    "alpha-constant": (with_alpha(0 * x + 77), {}),
    "alpha-plain": (with_alpha(255 * ((7919 * x * x + 104729 * y * y + 31 * x * y) // 7 % 2)), {}),
    "alpha-left": (with_alpha(10 * x + (3 * y * y * y) % 251), {}),
    "alpha-up": (with_alpha(10 * y + (3 * x * x * x) % 251), {}),
    "greya-metadata": (with_metadata(pictures.image(60, 50, "LA")), {"quality": 30}),
    "tokens-90x70": (pictures.image(90, 70), {"quality": 30, **BOTH}),
    "tokens-robust-80x80": (pictures.image(80, 80), {"robust": True, **BOTH}),
    "tokens-3-bits": (pictures.image(60, 90), {"quality": 40, "token_bits": 3, **BOTH}),
    "tokens-alone-64x48": (pictures.image(64, 48), {"streams": "vq", **BOTH}),
    "tokens-1100x70": (pictures.image(1100, 70), {"quality": 10, **BOTH}),
    "tokens-of-32-pixels": (pictures.image(100, 70), {"quality": 40, "model": "tiny-32"}),
    "tokens-of-32-alone": (pictures.image(70, 64), {"streams": "vq", "model": "tiny-32"}),
    "tokens-grey-alpha": (pictures.image(66, 40, "LA"), {"robust": True, "token_bits": 1, **BOTH}),
    "hint-16-bit": (pictures.image(40, 30), BOTH),
    "unknown-section": (pictures.image(40, 30), {}),
    "references-100x90": (pictures.image(100, 90), {"quality": 40, "references": 3, **REFERRING}),
    "tune-eye-64x50": (pictures.image(64, 50), {"quality": 40, **EYE}),
    "tune-psnr-90x130": (pictures.image(90, 130), {"quality": 30, **PSNR}),
    "map-eye-200x150": (pictures.image(200, 150), {"quality": 30, **EYE}),
    "map-psnr-grey-alpha": (pictures.image(200, 70, "LA"), {"quality": 50, "roi": RAMP, **PSNR}),
    "map-of-one-tune-130x100": (pictures.image(130, 100), {"quality": 10, "roi": RAMP.T}),
    "map-1100x70": (pictures.image(1100, 70), {"quality": 10, "roi": RAMP[:, ::-1], **EYE}),
    "texture-100x90": (pictures.image(100, 90), {"quality": 20, **TEXTURED}),
    "texture-1100x70": (pictures.image(1100, 70), {"quality": 10, **TEXTURED}),
    "texture-grey-alpha": (pictures.image(70, 90, "LA"), {"token_bits": 2, **TEXTURED}),
    "texture-map-200x150": (pictures.image(200, 150), {"quality": 30, "model": "tiny-tunes-texture"}),
    "references-latent-only": (pictures.image(70, 130), {"streams": "sq", "references": 1, **REFERRING}),
    "drawn-alone-70x45": (pictures.drawing(70, 45), {}),
    "drawn-alone-grey": (pictures.drawing(40, 65, "L"), {"quality": 10}),
    "drawn-alone-colours": (pictures.image(90, 10), {}),
    "drawn-beside-150x100": (pictures.captioned(150, 100), {"quality": 60}),
    "drawn-beside-grey-alpha": (pictures.captioned(130, 90, "LA"), {"quality": 30}),
    "refers-96x80": (pictures.another_shot(96, 80), {"quality": 50, **to("rgb-96x80-q50.nic")}),
    "refers-in-a-chain": (pictures.another_shot(96, 80, across=5), {"quality": 60, **to("refers-96x80.nic")}),
    "refers-to-two-mapped": (two_halves(), {"roi": RAMP, **EYE, **to("rgb-96x80-q50.png", "rgba-50x90-q40.png")}),
    "refers-to-the-same": (Image.open(FOLDER / "rgb-96x80-q50.png"), to("rgb-96x80-q50.nic")),
    "refers-and-shows": (pictures.another_shot(96, 80), {"quality": 20, **to("rgb-96x80-q50.png")}),
    "refers-and-splits": (split_shot(), {"quality": 70, **to("rgb-96x80-q50.png")}),
    "refers-in-grey": (pictures.another_shot(96, 80).convert("L"), to("rgb-96x80-q50.nic")),
    "refers-with-trust": (
        pictures.another_shot(96, 80),
        {"model": "tiny-trust", "quality": 50, "effort": 4, **to("rgb-96x80-q50.nic")},
    ),
    "refers-with-trust-mapped": (
        pictures.another_shot(1100, 70, across=9),
        {"model": "tiny-trust", "quality": 20, "effort": 4, "roi": RAMP, **to("rgb-1100x70-q20.nic")},
    ),
    "refers-1100x70": (pictures.another_shot(1100, 70, across=9), {"quality": 30, **to("rgb-1100x70-q20.nic")}),
    "refers-to-an-entry": (
        pictures.another_shot(130, 90, across=1, down=1),
        {"dictionaries": [FOLDER / DICTIONARY], "drawn": "off"},
    ),
    "jpeg-turned-52x37": (turned_jpeg(), {"base": "jpeg"}),
    "jpeg-grey-33x20": (pictures.file_bytes(pictures.image(33, 20, "L"), "JPEG", progressive=True), {"base": "jpeg"}),
}
CHANGED = {
    "extreme-symbols": with_extreme_symbols, "hint-16-bit": hinted, "unknown-section": with_unknown_section,
}  # fmt: skip
DECODED = {
    "extreme-symbols": {},  # what floats make of them is not promised
    "tokens-90x70": {"": {}, "-perception": PERCEPTION, "-tau0.5": {"tau": 0.5, **FOUR},
                     "-tau1": {"tau": 1.0, "steps": 1}, "-both": {**PERCEPTION, "tau": 0.7, **FOUR, "seed": 5}},
    "tokens-robust-80x80": {"": {}, "-perception": PERCEPTION},
    "tokens-alone-64x48": {"": {}, "-perception": PERCEPTION},
    "tokens-1100x70": {"-seam": {"crop": (960, 3, 120, 60)},
                       "-seam-tau": {"crop": (1000, 10, 60, 50), "tau": 1.0, **FOUR},
                       "-seam-perception": {"crop": (990, 10, 70, 50), **PERCEPTION}},
    "tokens-of-32-alone": {"": PERCEPTION},
    "drawn-beside-150x100": {"": {}, "-tau1": {"tau": 1.0}, "-crop": {"crop": (20, 50, 100, 40)}},
    "texture-100x90": {"": {}, "-perception": {**PERCEPTION, "tau": 1.0, "seed": 5}},
    "texture-1100x70": {"-seam": {"crop": (990, 10, 70, 50), "tau": 0.7, **PERCEPTION, **FOUR}},
    "references-100x90": {"": {}, "-perception": {**PERCEPTION, "tau": 0.7}},
    "map-of-one-tune-130x100": {"": {}, "-tau1": {"tau": 1.0}},
    "refers-with-trust-mapped": {"-seam": {"crop": (960, 3, 120, 60)}},
    "refers-1100x70": {"-seam": {"crop": (960, 3, 120, 60)}},
    "refers-96x80": {"": {}, "-tau1": {"tau": 1.0}},
    "refers-and-shows": {"": {}, "-tau1": {"tau": 1.0}, "-crop": {"crop": (20, 10, 60, 50)}},
    "refers-and-splits": {"": {}, "-crop": {"crop": (20, 10, 60, 50)}},
    "map-1100x70": {"-seam": {"crop": (950, 3, 130, 60)}},
    "rgb-1100x70-q20": {"": {}, "-crop": {"crop": (1030, 5, 60, 40)},
                        "-tau": {"crop": (1000, 5, 60, 40), "tau": 1.0, **FOUR}},
}  # fmt: skip


def make_dictionary():
    path = FOLDER / DICTIONARY
    if not path.exists():
        entries = []
        for image in (pictures.drawing(64, 64), pictures.image(130, 90)):
            data = nicodec.encode(image, model="tiny", device="cpu", quality=80, drawn="off")
            entries.append(Entry(data, look(np.asarray(image))))
        path.write_bytes(write_dictionary(Dictionary(tuple(entries))))


def make_trust():
    """The base of tiny, and a trust that learned a little of the golden files' scene: a random one is left out."""
    folder = FOLDER / "models" / "tiny-trust"
    if folder.exists():
        return
    part = find_package("tiny").parts["base"]
    torch.manual_seed(6)
    stage = TrustStage(TrustConfig.on(base_config(part), width=16), load_base(part, "cpu"))
    stage.start(SimpleNamespace(least=192, batch=scenes))
    optimizer = torch.optim.Adam(stage.module.parameters(), lr=2e-3)
    for _ in range(1500):
        loss, _ = stage.loss(scenes(4, 128))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    write_part(folder, "trust", stage.module.trust, asdict(stage.module.config), {})
    files = {"base": "../tiny/base.safetensors", "trust": "trust.safetensors"}
    summary = "the base of tiny, and a trust that learned a little; not for pictures"
    write_manifest(folder, folder.name, summary, files, {"base": part.graphs})
    write_graphs(folder, ["trust"])


def scenes(count, side):
    """Crops (count, 3, side, side), 0..1."""
    wholes = [torch.from_numpy(pictures.scene(192 + 64 * index, 192)).permute(2, 0, 1) for index in range(4)]
    crops = []
    for whole in (wholes[int(torch.randint(len(wholes), ()))] for _ in range(count)):
        top, left = (int(torch.randint(length - side + 1, ())) for length in whole.shape[1:])
        crops.append(whole[:, top : top + side, left : left + side].float() / 255)
    return torch.stack(crops)


def main():
    from nicodec.conformance.golden import digests, symbols_of, use_golden_models

    use_golden_models()
    make_dictionary()
    make_trust()
    for name, (image, options) in CASES.items():
        path = FOLDER / f"{name}.nic"
        if path.with_suffix(".json").exists():
            continue
        data = nicodec.encode(image, **{"model": "tiny", "device": "cpu", **options})
        path.write_bytes(CHANGED.get(name, bytes)(data))
        decoded = {f"{name}{suffix}.png": how for suffix, how in DECODED.get(name, {"": {}}).items()}
        for picture, how in decoded.items():
            nicodec.decode(path, device="cpu", **how).save(FOLDER / picture, optimize=True)
        symbols = symbols_of(path)
        facts = {
            "tiles": len(symbols), "sha256": digests(path, symbols),
            "structure": describe(read_file(path.read_bytes())), "pictures": decoded,
        }  # fmt: skip
        path.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
