"""Write the golden files and what they must decode to. Run once for each new file; existing ones are never replaced."""

import hashlib
import json
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER.parents[1]), str(FOLDER.parent)]

import pictures  # noqa: E402

CASES = {
    "rgb-96x80-q50": (pictures.image(96, 80), 50),
    "rgb-1x1-q60": (pictures.image(1, 1), 60),
    "rgb-65x63-q0": (pictures.image(65, 63), 0),
    "rgb-64x64-q100": (pictures.image(64, 64), 100),
    "rgb-130x20-q33.3": (pictures.image(130, 20), 33.3),
    "grey-70x64-q70": (pictures.image(70, 64, "L"), 70),
    "rgb-1100x70-q20": (pictures.image(1100, 70), 20),
    "rgba-50x90-q40": (pictures.image(50, 90, "RGBA"), 40),
}


def main():
    import nicodec
    from nicodec.container.reader import read_file, read_tokens
    from nicodec.streams import decode_symbols

    for name, (image, quality) in CASES.items():
        if (FOLDER / f"{name}.nic").exists():
            continue
        if name == "rgba-50x90-q40":
            image.info.update(icc_profile=b"not a profile, but bytes", xmp=b"<x:xmpmeta/>" * 20)
        data = nicodec.encode(image, quality=quality, model="tiny", device="cpu")
        (FOLDER / f"{name}.nic").write_bytes(data)
        file = read_file(data)
        latents = decode_symbols(file, read_tokens(file)).values()
        symbols = b"".join(latent.tobytes() for latent in latents)
        nicodec.decode(data, device="cpu").save(FOLDER / f"{name}.png")
        facts = {"symbols_sha256": hashlib.sha256(symbols).hexdigest(), "tiles": len(latents)}
        (FOLDER / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
