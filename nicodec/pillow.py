"""A Pillow plugin: `Image.open("a.nic")` and `image.save("a.nic", quality=60)`."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import IO, Any

from PIL import Image, ImageFile

from nicodec.codec import decode_bytes, encode_picture
from nicodec.container.layout import MAGIC, MIME_TYPE, Colour, SectionType
from nicodec.container.reader import read_file
from nicodec.errors import UsageError
from nicodec.image.files import from_pillow, to_pillow
from nicodec.image.given import mask_of
from nicodec.image.icc import space_of
from nicodec.image.kept import unpack_metadata
from nicodec.options import SCALES, DecodeOptions, EncodeOptions
from nicodec.references.library import references_of

FORMAT = "NIC"
METADATA_OPTIONS = ("icc_profile", "exif", "xmp", "dpi")


class NicImageFile(ImageFile.ImageFile):
    """A .nic file that Pillow has opened: size, mode and metadata at once, pixels when they are asked for.

    `options` may be replaced until then, to decode in another way. `data` is the file until its pixels are decoded.
    """

    format = FORMAT
    format_description = "nicodec"
    options = DecodeOptions()
    data: bytes | None = None
    declared: tuple[int, int]

    def _open(self) -> None:
        assert self.fp is not None
        self.data = self.fp.read()
        file = read_file(self.data)
        if self.filename:
            self.options = replace(self.options, beside=Path(os.fsdecode(self.filename)).parent)
        self._size = self.declared = file.header.width, file.header.height
        blocks = unpack_metadata(file)
        # Grey under a profile for RGB is decoded to RGB, see `to_pillow`.
        grey = file.header.colour is Colour.GREY and space_of(blocks.get("icc", b"")) != "RGB"
        self._mode = ("L" if grey else "RGB") + "A" * (SectionType.ALPHA in file.sections)
        names = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}
        self.info.update({names[name]: block for name, block in blocks.items()})

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Prepare to decode a smaller picture, of at least `size` where there is so much: `Image.thumbnail` asks so.

        The mode stays. Returns what Pillow's JPEG plugin does: mode, and the box that the full picture has in it.
        """
        if self.data is None or size is None or self.options.crop is not None:
            return None
        room = min(have // max(1, want) for have, want in zip(self.declared, size, strict=True))
        scale = max((scale for scale in SCALES if scale <= room), default=1)
        self.options = replace(self.options, scale=scale)
        self._size = -(-self.declared[0] // scale), -(-self.declared[1] // scale)
        return self.mode, (0, 0, self.declared[0] / scale, self.declared[1] / scale)

    def load(self) -> Any:
        """Decode, the first time."""
        if self.data is not None:
            decoded = to_pillow(decode_bytes(self.data, self.options))
            self.im, self._size = decoded.im, decoded.size
            self.info.update(decoded.info)
            self.data = None
            if self._exclusive_fp and self.fp:  # opened by name: closed once it is read, as Pillow's own plugins do
                self.fp.close()
            self.fp = None
        return super().load()


def save(image: Image.Image, file: IO[bytes], name: str | bytes) -> None:
    """Encode for `Image.save`; options are those of `nicodec.encode`, and icc_profile, exif, xmp and dpi.

    Raises:
        UsageError: an option that is none of these, or out of range.
    """
    given: dict[str, Any] = dict(image.encoderinfo)
    allow_8bit = given.pop("allow_8bit", False)
    metadata = {key: given.pop(key) for key in METADATA_OPTIONS if key in given}
    known = {field.name for field in fields(EncodeOptions)}
    if unknown := set(given) - known:
        listed = ", ".join(sorted({*known, "allow_8bit", *METADATA_OPTIONS}))
        raise UsageError(f"no option of .nic files: {', '.join(sorted(unknown))}; known: {listed}")
    if given.get("base_weights") is not None:
        given["base_weights"] = Path(given["base_weights"])
    if given.get("roi") is not None:
        given["roi"] = mask_of(given["roi"])
    if "references" in given:
        given["references"] = references_of(given["references"])
    if "dictionaries" in given:
        given["dictionaries"] = tuple(map(Path, given["dictionaries"]))
    options = EncodeOptions(**given)
    copy = image.copy()
    copy.info.update(metadata)
    if isinstance(copy.info.get("exif"), Image.Exif):  # Pillow takes both
        copy.info["exif"] = copy.info["exif"].tobytes()
    file.write(encode_picture(from_pillow(copy, allow_8bit=allow_8bit), options))


def register() -> None:
    """Make Pillow know .nic files; again does no harm."""
    Image.register_open(FORMAT, NicImageFile, lambda prefix: prefix.startswith(MAGIC))
    Image.register_save(FORMAT, save)
    Image.register_extension(FORMAT, ".nic")
    Image.register_mime(FORMAT, MIME_TYPE)
