"""A plan: which stages make a family of models, in which order, for how long. Read from TOML and checked by name."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from nicodec.errors import UsageError, brief
from nicodec.networks import restorer, trust, vq
from nicodec.networks.base import BaseConfig
from nicodec.networks.clc import CLCConfig
from nicodec.networks.restorer import RestorerConfig
from nicodec.networks.trust import TrustConfig
from nicodec.networks.vq import VQConfig
from nicodec.training.foreign import ForeignConfig
from nicodec.training.loop import Schedule

AFTER = {  # what each stage stands on
    "sq": (), "dictionary": ("sq",), "clc": ("dictionary",), "vq": ("sq",), "aux": ("sq",), "fuser": ("aux",),
    "mode": ("vq",), "restorer": ("sq",), "trust": ("sq",), "texture": ("sq",), "foreign": (),
}  # fmt: skip
BASES = {"sq", "foreign"}  # a plan begins with one, or has another model's
ON_ANOTHER = {"aux", "fuser"}  # what can be trained on another codec's base as on ours
UNTRAINED = {"dictionary": {"size": "int"}, "texture": {"config": "dict"}}  # built, all at once, with these keys
CRITICAL = frozenset({"vq", "aux", "fuser", "mode", "restorer"})  # need the weights of a critic
CONFIGS: dict[str, type[Any]] = {  # others have the base's widths
    "sq": BaseConfig, "vq": VQConfig, "clc": CLCConfig, "restorer": RestorerConfig, "foreign": ForeignConfig,
    "trust": TrustConfig,
}  # fmt: skip
FIXED: dict[type[Any], Collection[str]] = {
    VQConfig: vq.SHARED, RestorerConfig: restorer.SHARED, TrustConfig: trust.SHARED,
}  # fmt: skip
EXPORT = {"sq": {"count": "int", "side": "int"}, "vq": {"steps": "int", "batch": "int", "side": "int"}}
TEXTURE = dict.fromkeys(("bits", "stride", "batches", "steps", "batch", "side"), "int")
KINDS: dict[str, Callable[[Any], bool]] = {
    "int": lambda value: type(value) is int and value >= 0,
    "float": lambda value: type(value) in (int, float) and 0 <= value < math.inf,
    "float | None": lambda value: type(value) in (int, float) and 0 < value < math.inf,
    "tuple[float, ...]": lambda value: type(value) is list and all(type(share) in (int, float) for share in value),
    "bool": lambda value: type(value) is bool,
    "str": lambda value: type(value) is str,
    "list": lambda value: type(value) is list,
    "dict": lambda value: type(value) is dict,
}


@dataclass(frozen=True)
class PlannedStage:
    """A stage of a plan.

    Attributes:
        name: which.
        schedule: its length, crops and learning rates.
        processes: that train as one; on a GPU they share it.
        config: widths and depths of what is trained, where it has any of its own; of a texture, see
            `nicodec.cli.texture.build_into`.
        export: how tables are measured, or a prior trained, when it becomes a part; see `nicodec.cli.models.export`.
        size: of a dictionary: references, at most.
        predecessor: the model whose base the base starts as, None: from the KLT; whose fuser the auxiliary encoder
            starts as, None: as the base's own transforms; whose fuser, or restorer, that one starts as, None: as the
            auxiliary encoder, or as the base's g_s.
    """

    name: str
    schedule: Schedule = field(default_factory=Schedule)
    processes: int = 1
    config: Mapping[str, Any] = field(default_factory=dict)
    export: Mapping[str, int] = field(default_factory=dict)
    size: int = 1024
    predecessor: str | None = None

    def described(self) -> dict[str, Any]:
        """All that it says, by name, as JSON holds it."""
        return {
            **asdict(self.schedule), "doublings": list(self.schedule.doublings), "processes": self.processes,
            **self.config, **{f"export.{name}": value for name, value in self.export.items()}, "size": self.size,
            "predecessor": self.predecessor,
        }  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What a package is made by.

    Attributes:
        name: the package's.
        summary: goes into its manifest.
        base: the model whose base, tokens of texture and trust it is to have; None: stages make them.
    """

    path: Path
    name: str
    summary: str
    stages: tuple[PlannedStage, ...]
    base: str | None = None


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        UsageError: it is no TOML, has keys that are not known, values of another kind, or stages out of order.
    """
    try:
        table = tomllib.loads(path.read_bytes().decode())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no plan: {brief(error)}") from None
    _check(f"{path}", table, {"name": "str", "summary": "str", "base": "str", "stages": "list"})
    try:
        name, summary, tables = table["name"], table["summary"], table["stages"]
    except KeyError as error:
        raise UsageError(f"{path} is no plan: it has no {error}") from None
    if not name or Path(name).name != name:
        raise UsageError(f"{path}: name is {name!r}, expected what a package's folder can be called")
    stages: list[PlannedStage] = []
    given = {"sq", "texture"} if "base" in table else set()
    for number, entry in enumerate(tables, 1):
        stage = _stage(f"{path}, stage {number}", entry)
        known = given | {earlier.name for earlier in stages}
        known |= {"sq"} if "foreign" in known and stage.name in ON_ANOTHER else set()
        if stage.name in known or (known and stage.name in BASES) or not known.issuperset(AFTER[stage.name]):
            needed = " and ".join(AFTER[stage.name]) or "no other"
            raise UsageError(f"{path}: stage {number} is {stage.name}, expected once, with {needed} before it")
        stages.append(stage)
    if not stages:
        raise UsageError(f"{path} is no plan: it has no stages")
    return Plan(path, name, summary, tuple(stages), table.get("base"))


def _stage(where: str, table: Any) -> PlannedStage:
    name = table.get("stage") if isinstance(table, dict) else None
    if name not in AFTER:
        raise UsageError(f"{where} is {name}, expected stage = one of {', '.join(AFTER)}")
    where = f"{where} ({name})"
    if name in UNTRAINED:
        _check(where, table, {"stage": "str", **UNTRAINED[name]})
        _check(f"{where}, config", table.get("config", {}), TEXTURE)
        return PlannedStage(**{"name" if key == "stage" else key: value for key, value in table.items()})
    timed = {f.name: str(f.type) for f in fields(Schedule)}
    own = {"stage": "str", "processes": "int"}
    own |= {"predecessor": "str"} if name in ("sq", "aux", "fuser", "restorer") else {}
    own |= {"config": "dict"} if name in CONFIGS else {}
    own |= {"export": "dict"} if name in EXPORT else {}
    _check(where, table, own | timed)
    config, export = table.get("config", {}), table.get("export", {})
    if name in CONFIGS:
        _check_config(f"{where}, config", config, CONFIGS[name])
    _check(f"{where}, export", export, EXPORT.get(name, {}))
    chosen: dict[str, Any] = {key: value for key, value in table.items() if key in timed}
    if "doublings" in chosen:
        chosen["doublings"] = tuple(chosen["doublings"])
    return PlannedStage(
        name, Schedule(**chosen), max(1, table.get("processes", 1)), config, export,
        predecessor=table.get("predecessor"),
    )  # fmt: skip


def _check_config(where: str, table: Mapping[str, Any], config: type[Any]) -> None:
    fixed = FIXED.get(config, ())
    _check(where, table, {f.name: str(f.type) for f in fields(config) if f.name not in fixed})
    try:
        config(**table)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None


def _check(where: str, table: Mapping[str, Any], known: Mapping[str, str]) -> None:
    for key, value in table.items():
        if key not in known:
            raise UsageError(f"{where} has an unknown key {key!r}, expected some of {', '.join(sorted(known))}")
        if not KINDS[known[key]](value):
            raise UsageError(f"{where}: {key} is {value!r}, expected {known[key]}")
