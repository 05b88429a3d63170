"""A plan on its way: which stages are begun, trained and made, and the report of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from nicodec.errors import DamagedPartError, TrainingRunError, brief
from nicodec.training.checkpoint import CHANGEABLE, STATE, read_state, replace
from nicodec.training.export import KINDS
from nicodec.training.plan import UNTRAINED, Plan, PlannedStage
from nicodec.zoo.manifest import read_manifest

UNMADE = "aux"  # needed in training only
STANDING = {"begun", "made"}  # what a plan's notes say of its stages
OF_THE_PLAN = {"name", "base", *STANDING}


class Family:
    """The folder that a plan fills: `STAGE/` is a run, `models/NAME/` the package, `plan.json` what is begun and made.

    Args:
        data: what the plan is given to train on, by name: fingerprints.

    Raises:
        TrainingRunError: the folder was begun with another plan, or other data; it may be longer, though.
    """

    def __init__(self, plan: Plan, folder: Path, data: Mapping[str, str | None]) -> None:
        self.plan, self.folder, self.package = plan, folder, folder / "models" / plan.name
        based = {"base": plan.base} if plan.base else {}
        self.notes: dict[str, Any] = {"name": plan.name, **based, **data, "begun": {}, "made": {}}
        if (folder / "plan.json").exists():
            was = self._read()
            for name, value in self.notes.items():
                if name not in STANDING and was.get(name) != value:
                    raise TrainingRunError(
                        f"{folder} was begun with another {name}: {was.get(name)}, now {value}; use another --out"
                    )
            self.notes = was
        self._check_begun()

    def begin(self, stage: PlannedStage) -> None:
        """Note that a stage is begun, as the plan has it now."""
        self.notes["begun"][stage.name] = stage.described()
        self._write()

    def make(self, stage: PlannedStage) -> None:
        """Note that a stage has become what it is for."""
        self.notes["made"][stage.name] = self.standing(stage)[0]
        self._write()

    def standing(self, stage: PlannedStage) -> tuple[int, float]:
        """Steps and seconds that a stage has been trained for."""
        path = self.folder / stage.name / STATE
        return _standing(path, path.stat().st_mtime_ns) if path.exists() else (0, 0.0)

    def trained(self, stage: PlannedStage) -> bool:
        """Whether nothing is left of a stage's schedule."""
        return stage.name not in UNTRAINED and stage.schedule.share(*self.standing(stage)) >= 1

    def finished(self, stage: PlannedStage) -> bool:
        """Whether a stage has become what it is for, and could not become more."""
        if stage.name == UNMADE:
            return self.trained(stage)
        if self.notes["made"].get(stage.name) != self.standing(stage)[0]:
            return False
        try:
            held = KINDS.get(stage.name, stage.name) in read_manifest(self.package / "model.toml").parts
        except DamagedPartError:
            return False
        return held and (stage.name in UNTRAINED or self.trained(stage))

    def report(self) -> None:
        """Write `report.md`: a row for each stage."""
        rows = "\n".join(self._row(stage) for stage in self.plan.stages)
        data = "; ".join(f"{name} `{self.notes[name]}`" for name in self.notes if name not in OF_THE_PLAN)
        text = (
            f"# {self.plan.name}\n\n{self.plan.summary}. Plan: `{self.plan.path.name}`; fingerprints: {data}.\n\n"
            f"| stage | is | steps | minutes | last validation |\n|---|---|---|---|---|\n{rows}\n"
        )
        replace(self.folder / "report.md", lambda path: path.write_text(text, encoding="utf-8"))

    def _row(self, stage: PlannedStage) -> str:
        if stage.name not in self.notes["begun"]:
            return f"| {stage.name} | to come | | | |"
        state = "finished" if self.finished(stage) else "trained" if self.trained(stage) else "begun"
        if stage.name in UNTRAINED:
            return f"| {stage.name} | {state} | | | |"
        step, elapsed = self.standing(stage)
        figures = _last(self.folder / stage.name / "validation.jsonl")
        seen = ", ".join(f"{name} {value}" for name, value in figures.items() if name not in ("step", "minutes"))
        return f"| {stage.name} | {state} | {step} | {elapsed / 60:.1f} | {seen} |"

    def _check_begun(self) -> None:
        """Refuse to go on with what is begun as something else."""
        planned = {stage.name: stage for stage in self.plan.stages}
        for name, was in self.notes["begun"].items():
            if name not in planned:
                raise TrainingRunError(f"{self.plan.path} has no stage {name}, which is begun in {self.folder}")
            self._check_same(planned[name], was)
        unfinished = ""
        for name, stage in planned.items():
            if unfinished and name in self.notes["begun"]:
                raise TrainingRunError(
                    f"stage {unfinished} is to go on, but {name} is begun on what it was; use another --out"
                )
            unfinished = unfinished or ("" if self.finished(stage) else name)

    def _check_same(self, stage: PlannedStage, was: Mapping[str, Any]) -> None:
        now = stage.described()
        changes = [
            f"{name} was {was.get(name)}, is {now.get(name)}"
            for name in {**now, **was}
            if was.get(name) != now.get(name) and name not in CHANGEABLE
        ]
        if changes:
            raise TrainingRunError(
                f"{self.plan.path} has changed for stage {stage.name}, which is begun: {'; '.join(changes[:3])}; go on "
                "as it was, or use another --out"
            )
        step, elapsed = self.standing(stage)
        before = (was["minutes"] is not None and elapsed / 60 >= was["minutes"]) or step >= was["steps"]
        if self.trained(stage) and not before:
            raise TrainingRunError(
                f"stage {stage.name} is at step {step} after {elapsed / 60:.1f} minutes, and {self.plan.path} ends it "
                "before that: its end can be moved, but not into the past"
            )

    def _read(self) -> dict[str, Any]:
        path = self.folder / "plan.json"
        try:
            return {"begun": {}, "made": {}, **json.loads(path.read_text(encoding="utf-8"))}
        except (OSError, ValueError, TypeError) as error:
            raise TrainingRunError(f"{path} does not say what was planned: {brief(error)}") from None

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.notes, indent=2) + "\n"
        replace(self.folder / "plan.json", lambda path: path.write_text(text, encoding="utf-8"))


@lru_cache
def _standing(path: Path, changed: int) -> tuple[int, float]:
    """Steps and seconds of a checkpoint, which is read again only where the time of its last change is another."""
    state = read_state(path, torch.device("cpu"))
    return state["step"], state["elapsed"]


def _last(path: Path) -> dict[str, Any]:
    """The last line of a record; nothing where there is none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return dict(json.loads(lines[-1])) if lines else {}
