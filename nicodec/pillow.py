"""A Pillow plugin: `Image.open("a.nic")` and `image.save("a.nic", quality=60)`."""

from __future__ import annotations

from dataclasses import fields
from typing import IO, Any

from PIL import Image, ImageFile

from nicodec.codec import decode_bytes, encode_picture, unpack_metadata
from nicodec.container.layout import MAGIC, Colour, SectionType
from nicodec.container.reader import read_file
from nicodec.image.files import from_pillow, to_pillow
from nicodec.options import DecodeOptions, EncodeOptions

FORMAT = "NIC"


class NicImageFile(ImageFile.ImageFile):
    """A .nic file that Pillow has opened: size, mode and metadata at once, pixels when they are asked for.

    `options` may be replaced until then, to decode in another way.
    """

    format = FORMAT
    format_description = "nicodec"
    options = DecodeOptions()

    def _open(self) -> None:
        assert self.fp is not None
        self.data: bytes | None = self.fp.read()
        file = read_file(self.data)
        self._size = file.header.width, file.header.height
        self._mode = ("L" if file.header.colour is Colour.GREY else "RGB") + "A" * (SectionType.ALPHA in file.sections)
        names = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}
        self.info.update({names[name]: block for name, block in unpack_metadata(file).items()})

    def load(self) -> Any:
        """Decode, the first time."""
        if self.data is not None:
            self.im = to_pillow(decode_bytes(self.data, self.options)).im
            self.data = None
        return super().load()


def save(image: Image.Image, file: IO[bytes], name: str | bytes) -> None:
    """Encode for `Image.save`; options are those of `nicodec.encode`, and icc_profile, exif, xmp and dpi."""
    given: dict[str, Any] = image.encoderinfo
    known = {field.name for field in fields(EncodeOptions)}
    options = EncodeOptions(**{key: value for key, value in given.items() if key in known})
    copy = image.copy()
    copy.info.update({key: given[key] for key in ("icc_profile", "exif", "xmp", "dpi") if key in given})
    if isinstance(copy.info.get("exif"), Image.Exif):  # Pillow takes both
        copy.info["exif"] = copy.info["exif"].tobytes()
    file.write(encode_picture(from_pillow(copy), options))


def register() -> None:
    """Make Pillow know .nic files; again does no harm."""
    Image.register_open(FORMAT, NicImageFile, lambda prefix: prefix.startswith(MAGIC))
    Image.register_save(FORMAT, save)
    Image.register_extension(FORMAT, ".nic")
    Image.register_mime(FORMAT, "image/x-nicodec")
