"""model.toml: what a model package holds."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from nicodec.container.layout import ID_BYTES
from nicodec.errors import DamagedPartError, MissingPartError, brief

if TYPE_CHECKING:
    from torch import Tensor

TRAINED_ON = {
    "base": (), "vq": ("base",), "dictionary": ("base",), "mode": ("base", "vq"), "fuser": ("base",),
    "restorer": ("base",),
    "texture": ("base",), "trust": ("base",),
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One file of a package, with the graphs of its networks.

    Attributes:
        id: the first 8 bytes of the file's SHA-256.
        trained_on: the ids of other parts.
        graphs: ids of the graphs by name. They hold no weights, lie beside the part, and no file names them.
    """

    kind: str
    id: bytes
    path: Path
    package: str
    trained_on: frozenset[bytes] = frozenset()
    graphs: Mapping[str, bytes] = field(default_factory=dict, compare=False, repr=False)

    def read(self) -> bytes:
        """The part's content, checked against its id.

        Raises:
            DamagedPartError: missing, unreadable, or of other content.
        """
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise DamagedPartError(f"the {self.kind} of model {self.package} cannot be read: {error}") from None
        found = part_id(content)
        if found != self.id:
            raise DamagedPartError(
                f"{self.path} has id {found.hex()}, its package says {self.id.hex()}: reinstall the model"
            )
        return content

    def graph(self, name: str) -> bytes:
        """The content of a graph, checked against its id.

        Raises:
            MissingPartError: the package has no such graph.
            DamagedPartError: missing, unreadable, or of other content.
        """
        if name not in self.graphs:
            raise MissingPartError(
                f"model {self.package} has no graph {name} of its {self.kind}; make it with `nicodec models graphs`, "
                "or use --engine torch"
            )
        path = graph_path(self.path.parent, self.kind, name)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DamagedPartError(f"a graph of model {self.package} cannot be read: {error}") from None
        if part_id(content) != self.graphs[name]:
            raise DamagedPartError(f"{path} is not the graph that model {self.package} names: reinstall the model")
        return content


@dataclass(frozen=True)
class Package:
    """A folder with a model.toml."""

    name: str
    summary: str
    folder: Path
    parts: dict[str, Part]


def graph_path(folder: Path, kind: str, name: str) -> Path:
    """Where a graph of a part lies in a package's folder."""
    return folder / "graphs" / f"{kind}.{name}.onnx"


def part_id(content: bytes) -> bytes:
    """The id of a part by its content."""
    return hashlib.sha256(content).digest()[:ID_BYTES]


def read_manifest(path: Path) -> Package:
    """Read a model.toml.

    Raises:
        DamagedPartError: it does not have the expected fields.
    """
    try:
        fields = tomllib.loads(path.read_bytes().decode())
        name, summary = _text(fields["name"]), _text(fields["summary"])
        parts = {
            kind: Part(
                kind,
                bytes.fromhex(part["id"]),
                path.parent / part["file"],
                name,
                frozenset(map(bytes.fromhex, part.get("trained_on", []))),
                {graph: bytes.fromhex(id_) for graph, id_ in part.get("graphs", {}).items()},
            )
            for kind, part in fields["parts"].items()
        }
        if "base" not in parts:
            raise KeyError("parts.base")
        return Package(name, summary, path.parent, parts)
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DamagedPartError(f"{path} is not a model manifest: {brief(error)}") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def write_manifest(
    folder: Path, name: str, summary: str, parts: Mapping[str, str], graphs: Mapping[str, Mapping[str, bytes]] = {}
) -> None:
    """Write a model.toml for the parts `kind -> file name` that lie in `folder`, and for the graphs of these."""
    ids = {kind: part_id((folder / file).read_bytes()).hex() for kind, file in parts.items()}
    fields: dict[str, dict[str, object]] = {kind: {"file": file, "id": ids[kind]} for kind, file in parts.items()}
    for kind, held in fields.items():
        if TRAINED_ON[kind]:
            held["trained_on"] = [ids[on] for on in TRAINED_ON[kind]]
        if graphs.get(kind):
            held["graphs"] = {graph: id_.hex() for graph, id_ in graphs[kind].items()}
    text = tomli_w.dumps({"name": name, "summary": summary, "parts": fields})
    (folder / "model.toml").write_bytes(text.encode(errors="replace"))  # an argument may hold bytes that are no text


def write_tensors(folder: Path, kind: str, tensors: dict[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write `folder`/`kind`.safetensors, its config in the header, for whoever may read other new files."""
    from safetensors.torch import save

    (folder / f"{kind}.safetensors").write_bytes(save(tensors, {"config": json.dumps(config)}))
