"""The training loop that every stage shares: schedule, EMA, checkpoints, record, resume to the step."""

from __future__ import annotations

import copy
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from nicodec.errors import TrainingRunError, UsageError
from nicodec.training.checkpoint import STATE, check_same, fill, read_average, read_state, replace
from nicodec.training.data import Pictures
from nicodec.training.muon import Muon
from nicodec.training.ranks import Ranks
from nicodec.training.stage import Stage


@dataclass(frozen=True)
class Schedule:
    """How long, how fast, on what crops.

    The learning rate warms up, stays, and falls as half a cosine over the last share `decay` of `steps`, or of
    `minutes` where these end first: 1 for a whole cosine, 0 for a run that others go on from.
    Crops start small, so that a step is cheap while much is to be learned: at each share of the run in `doublings`
    their side doubles and their number halves.
    """

    steps: int = 20_000
    minutes: float | None = None
    batch: int = 16  # crops at a time, of each process
    accumulate: int = 1  # times that, a step
    crop: int = 128
    doublings: tuple[float, ...] = (0.5, 0.85)
    learning_rate: float = 1e-3
    warmup: int = 100
    decay: float = 1.0
    ema: float = 0.999
    checkpoint_minutes: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.crop < 64 or self.crop % 64:
            raise UsageError(f"crop is {self.crop}, expected a multiple of 64")
        for name in ("steps", "batch", "accumulate", "warmup"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, expected 1 or more")
        for name in ("decay", "ema"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}, expected 0 to 1")

    @property
    def largest(self) -> int:
        """Side of the largest crops, in pixels."""
        return self.crop << len(self.doublings)

    def share(self, step: int, elapsed: float) -> float:
        """How much of it is done after `step` steps and `elapsed` seconds, whichever is further: 1 is the end."""
        return max(step / self.steps, elapsed / 60 / self.minutes if self.minutes else 0.0)


BF16_TRIAL = 0.3  # seconds
QUICK = 200.0  # times the learning rate
SPIKE = 10.0  # times the usual norm of a gradient: Muon would take such a step at full size


class Run:
    """One training run and its folder: `run.json` says what is trained, `record.jsonl` how it went, `state.pt` is all.

    Raises:
        TrainingRunError: the folder holds a run already and `resume` is off, or the other way round; or the run there
            is another one; or the weights in `init` do not fit; or crops are smaller than the stage can use.
    """

    def __init__(
        self, stage: Stage, schedule: Schedule, folder: Path, device: torch.device, pictures: Pictures,
        validation: Pictures | None, *, resume: bool, init: Path | None, quiet: bool,
        frozen: Mapping[str, str] | None = None, saved: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        """Set up.

        Args:
            init: weights to start from.
            frozen: what the stage stands on, by name: ids.
            saved: called after each checkpoint, by the first of several processes.
        """
        if schedule.crop < stage.least:
            raise TrainingRunError(
                f"crops of {schedule.crop} pixels are too small for this stage, expected at least {stage.least}"
            )
        self.stage, self.schedule, self.folder, self.device = stage, schedule, folder, device
        self.pictures, self.validation, self.quiet = pictures, validation, quiet
        self.step, self.elapsed, self.stopping = 0, 0.0, False  # what all ranks agree on, at each step
        self.spent, self.asked = 0.0, False  # seconds since, and whether this rank was asked to stop
        self.ranks, self.frozen, self.saved = Ranks(), dict(frozen or {}), saved
        self.usual_norm = 0.0  # of gradients; 0: not known yet
        module = stage.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizers = make_optimizers(module, stage, schedule.learning_rate)
        state = folder / STATE
        if state.exists() and not resume:
            raise TrainingRunError(f"{folder} holds a run already; use --resume, or another --out")
        if resume and not state.exists():
            raise TrainingRunError(f"{folder} holds no run to resume (no {STATE} there)")
        folder.mkdir(parents=True, exist_ok=True)
        self.quiet |= self.ranks.rank > 0
        if resume:
            check_same(folder / "run.json", self._description())
        else:
            stage.start(pictures)
            if init is not None:
                fill(module, read_average(init), init)
            self.ranks.share(module)
        self.ema = copy.deepcopy(module).requires_grad_(False).eval()
        if resume:
            self._load(state)
        self.autocast = faster_in_bf16(device)

    def train(self) -> None:
        """Run to the end of the schedule, or to SIGTERM or Ctrl-C; leave a checkpoint either way."""
        previous = {number: signal.signal(number, self._ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
        bar = tqdm(total=1000, disable=self.quiet or not sys.stderr.isatty(), unit="‰", file=sys.stderr)
        saved = reported = time.monotonic()
        pixels = 0.0
        try:
            self._write_config()
            while self.progress < 1 and not self.stopping:
                started = time.monotonic()
                figures = self._one_step()
                now = time.monotonic()
                self.spent += now - started
                pixels += figures.pop("pixels")
                if now - reported > 20 or self.step == 1:
                    figures["crops_per_s"] = self.ranks.count * pixels / 256**2 / (now - reported)
                    self._report(figures, bar)
                    reported, pixels = now, 0.0
                if now - saved > 60 * self.schedule.checkpoint_minutes:
                    self._save()
                    saved = reported = time.monotonic()
            self._save()
        finally:
            bar.close()
            for number, handler in previous.items():
                signal.signal(number, handler)

    @property
    def progress(self) -> float:
        """0 at the start, 1 at the end."""
        return self.schedule.share(self.step, self.elapsed)

    def _one_step(self) -> dict[str, float]:
        schedule, module = self.schedule, self.stage.module
        doubled = sum(self.progress >= share for share in schedule.doublings)
        count, size = max(1, schedule.batch >> doubled), schedule.crop << doubled
        rate = schedule.learning_rate * min(1.0, (self.step + 1) / schedule.warmup)
        falling = max(0.0, min(1.0, self.progress) - (1 - schedule.decay)) / max(schedule.decay, 1e-9)
        rate *= 0.5 * (1 + math.cos(math.pi * falling)) + 1e-3
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["scale"]
        module.train()
        module.zero_grad(set_to_none=True)
        parts = [self._gradient_of(part, count, size) for part in range(schedule.accumulate)]
        figures = {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}
        asked, self.elapsed, *means = self.ranks.average(
            module.parameters(), self.asked, self.elapsed + self.spent, *figures.values()
        )
        figures = dict(zip(figures, means, strict=True))
        self.spent, self.stopping = 0.0, asked > 0
        norm = nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        if self._is_usual(norm.item()):  # one bad batch must not end a run of days
            for optimizer in self.optimizers:
                optimizer.step()
        self.step += 1
        decay = min(schedule.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.parameters()), list(module.parameters()), 1 - decay)
            for average, buffer in zip(self.ema.buffers(), module.buffers(), strict=True):
                average.copy_(buffer)
        pixels = float(schedule.accumulate * count * size**2)
        return {"pixels": pixels, "gradient": norm.item(), "learning_rate": rate, **figures}

    def _gradient_of(self, part: int, count: int, size: int) -> dict[str, float]:
        """Add the gradient of a batch's share of the step; parts draw as as many ranks would."""
        parts = self.schedule.accumulate
        drawn = (self.step * self.ranks.count + self.ranks.rank) * parts + part
        torch.manual_seed(self.schedule.seed * 1_000_003 + drawn + 1)
        x = self.pictures.batch(count, size).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            loss, figures = self.stage.loss(x)
        (loss / parts).backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.item(), **figures}

    def _is_usual(self, norm: float) -> bool:
        """Whether a gradient's norm is finite and no spike. Follows the usual norm, a doubling in ten steps at most."""
        if not math.isfinite(norm):
            return False
        usual = self.usual_norm or norm
        self.usual_norm = usual * min(2.0, max(0.5, norm / max(usual, 1e-9))) ** 0.1
        return norm <= SPIKE * usual

    def _report(self, figures: dict[str, Any], bar: tqdm[Any]) -> None:
        if self.ranks.rank > 0:
            return
        entry = {"step": self.step, "minutes": round(self.elapsed / 60, 3)}
        entry |= {name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in figures.items()}
        with (self.folder / "record.jsonl").open("a", encoding="utf-8") as record:
            record.write(json.dumps(entry) + "\n")
        bar.n = int(self.progress * 1000)
        bar.set_postfix({k: v for k, v in entry.items() if k in ("step", "loss", "bpp", "psnr")})
        if bar.disable and not self.quiet:
            print(json.dumps(entry), file=sys.stderr, flush=True)

    def _save(self) -> None:
        if self.ranks.rank > 0:
            return
        state = {
            "module": self.stage.module.state_dict(), "ema": self.ema.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step, "elapsed": self.elapsed + self.spent, "usual_norm": self.usual_norm,
        }  # fmt: skip
        replace(self.folder / STATE, lambda path: torch.save(state, path))
        if self.validation is not None and not self.stopping:
            with (self.folder / "validation.jsonl").open("a", encoding="utf-8") as record:
                figures = self.stage.validate(self.ema, self.validation)
                record.write(json.dumps({"step": self.step, "minutes": round(self.elapsed / 60, 2), **figures}) + "\n")
        if self.saved is not None:
            self.saved()

    def _load(self, state: Path) -> None:
        saved = read_state(state, self.device)
        fill(self.stage.module, saved["module"], state)
        fill(self.ema, saved["ema"], state)
        for optimizer, values in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        self.step, self.elapsed, self.usual_norm = saved["step"], saved["elapsed"], saved["usual_norm"]

    def _description(self) -> dict[str, Any]:
        return {
            "stage": self.stage.name, "config": self.stage.config(), "schedule": asdict(self.schedule),
            "data": self.pictures.fingerprint, "processes": self.ranks.count, "frozen": self.frozen,
        }  # fmt: skip

    def _write_config(self) -> None:
        if self.ranks.rank > 0:
            return
        text = json.dumps(self._description(), indent=2) + "\n"
        replace(self.folder / "run.json", lambda path: path.write_text(text, encoding="utf-8"))

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self.asked = True  # no more: a rank that stops before the others know leaves them waiting for its gradients


def make_optimizers(module: nn.Module, stage: Stage, learning_rate: float) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the matrices in `stage.muon`. The `scale` of a group is on top of the learning rate."""
    groups: dict[str, list[nn.Parameter]] = {"muon": [], "slow": [], "fast": [], "quick": []}
    for name, parameter in module.named_parameters():
        matrix = parameter.ndim == 4 and parameter.shape[1] > 1
        kind = next((k for k in ("slow", "quick") if any(part in name for part in getattr(stage, k))), "fast")
        groups["muon" if matrix and any(part in name for part in stage.muon) else kind].append(parameter)
    adamw = [
        {"params": groups["fast"], "scale": 1.0}, {"params": groups["slow"], "scale": 0.1},
        {"params": groups["quick"], "scale": QUICK, "weight_decay": 0.0},
    ]  # fmt: skip
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(adamw, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.005, fused=True)
    ]
    if groups["muon"]:
        optimizers.append(Muon([{"params": groups["muon"], "scale": 2.0}], learning_rate))
    return optimizers


def faster_in_bf16(device: torch.device) -> bool:
    """Whether bf16 matrix products beat fp32 clearly here: yes on a GPU, on a CPU only where it has the units."""
    if device.type != "cpu":
        return True
    seconds = {torch.float32: math.inf, torch.bfloat16: math.inf}
    a = {dtype: torch.ones(256, 256, dtype=dtype) for dtype in seconds}  # small: without the units, 1024 takes seconds
    began = time.perf_counter()
    while time.perf_counter() - began < BF16_TRIAL or math.inf in seconds.values():  # both in turns, amid other work
        for dtype in seconds:
            started = time.perf_counter()
            a[dtype] @ a[dtype]
            seconds[dtype] = min(seconds[dtype], time.perf_counter() - started)
    return seconds[torch.bfloat16] < 0.7 * seconds[torch.float32]
