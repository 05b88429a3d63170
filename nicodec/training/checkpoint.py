"""What a run leaves on disk to go on from, and to be exported: one file, whole or not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nicodec.errors import TrainingRunError, brief

STATE = "state.pt"
FIELDS = {"module", "ema", "optimizers", "step", "elapsed", "usual_norm"}
CHANGEABLE = {"steps", "minutes", "decay", "checkpoint_minutes"}  # of the schedule, from a run to its continuation


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside, then rename: a kill in the middle leaves the last whole file."""
    beside = path.with_name(path.name + ".part")
    write(beside)
    beside.replace(path)


def read_state(path: Path, device: torch.device) -> dict[str, Any]:
    """A checkpoint, with all of FIELDS.

    Raises:
        TrainingRunError: it is none, or not whole.
    """
    try:
        saved: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        if missing := FIELDS - saved.keys():
            raise KeyError(f"no {', '.join(sorted(missing))}")
    except Exception as error:  # what torch raises here depends on the kind of damage
        raise TrainingRunError(f"{path} is no checkpoint of this version, or not whole: {brief(error)}") from None
    return saved


def read_average(path: Path) -> dict[str, Tensor]:
    """The EMA weights in a checkpoint; or a safetensors file.

    Raises:
        TrainingRunError: it is neither.
    """
    if path.suffix != ".safetensors":
        return dict(read_state(path, torch.device("cpu"))["ema"])
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise TrainingRunError(f"{path} holds no weights: {brief(error)}") from None


def fill(module: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Load the weights that were read from `path`.

    Raises:
        TrainingRunError: they are of another network.
    """
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise TrainingRunError(f"the weights in {path} are of another network: {brief(error)}") from None


def check_same(path: Path, description: dict[str, Any]) -> None:
    """Refuse to go on with what would be another run than that in run.json; it may be longer, though.

    Raises:
        TrainingRunError: stage, widths, crops, batches, pictures or frozen parts are others; says which, in one line.
    """
    try:
        before = {
            "processes": description["processes"],
            **json.loads(path.read_text(encoding="utf-8")),
        }  # older runs do not say
        was, now = _settings(before), _settings(description)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingRunError(f"{path} does not say what run this is: {brief(error)}") from None
    names = [name for name in [*now, *(was.keys() - now.keys())] if was.get(name) != now.get(name)]
    if names:
        changes = [f"{name} was {was.get(name)}, is {now.get(name)}" for name in names]
        more = f"; and {len(names) - 3} more" if len(names) > 3 else ""
        raise TrainingRunError(
            f"{path.parent} holds another run: {'; '.join(changes[:3])}{more}; resume it as it was begun, or use "
            "another --out"
        )


def _settings(description: dict[str, Any]) -> dict[str, Any]:
    """What must not change, by name."""
    schedule = {name: value for name, value in description["schedule"].items() if name not in CHANGEABLE}
    # A run may go on with another number of processes, and on a machine of less memory.
    schedule["batch"] *= description["processes"] * schedule.pop("accumulate", 1)
    pictures = {"fingerprint of the training pictures": description.get("data")}
    frozen = {f"frozen {name}": id_ for name, id_ in description.get("frozen", {}).items()}
    settings = {"stage": description["stage"], **description["config"], **schedule, **pictures, **frozen}
    return dict(json.loads(json.dumps(settings)))  # tuples become lists, as in the file
