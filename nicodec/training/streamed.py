"""Training pictures out of tar shards, as webdataset has them: some at a time, for sets that no memory holds."""

from __future__ import annotations

import io
import os
import random
import tarfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Queue

import torch
from torch import Tensor

from nicodec.errors import TrainingDataError, brief
from nicodec.training.data import SHARDS, SUFFIXES, Pictures, fingerprint, found, read_pixels

HELD = 256  # pictures at a time, and as many again that are ready
CROPS = 16  # that a picture gives before another one takes its place


class Streamed(Pictures):
    """As `Pictures`, of tars: crops are of HELD pictures, each of which makes room for another after CROPS crops.

    The tars are read one after the other, in an order of chance, again and again, by a thread of this process. Where
    several processes train as one and there are tars enough, each reads its own. A run that goes on begins with other
    pictures than it stopped at.

    Args:
        folders, device, least: as there.
        held: pictures at a time.

    Raises:
        TrainingDataError: the tars have no picture of that size; one that cannot be read ends the run.
    """

    def __init__(self, folders: Sequence[Path], device: torch.device, least: int, held: int = HELD) -> None:
        self.least, self.unreadable, self.device = least, [], device
        self.fingerprint = fingerprint(folders)
        self.crops = 0
        self._ready: Queue[Tensor | TrainingDataError] = Queue(held)
        rank, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        shards = found(folders, SHARDS)
        own = shards[rank::count] if len(shards) >= count else shards
        threading.Thread(target=self._read, args=(own, random.Random(rank)), daemon=True).start()
        self.pictures = [self._next() for _ in range(held)]

    def batch(self, count: int, size: int) -> Tensor:
        """As `Pictures.batch`."""
        crops = super().batch(count, size)
        for _ in range((self.crops + count) // CROPS - self.crops // CROPS):
            self.pictures.append(self._next())
            del self.pictures[0]
        self.crops += count
        return crops

    def _next(self) -> Tensor:
        ready = self._ready.get()
        if isinstance(ready, TrainingDataError):
            raise ready
        return ready.to(self.device)

    def _read(self, shards: list[Path], chance: random.Random) -> None:
        """What the thread does."""
        try:
            while True:
                some = False
                for shard in chance.sample(shards, len(shards)):
                    for picture in self._pictures_of(shard):
                        some = True
                        self._ready.put(picture)
                if not some:
                    names = ", ".join(map(str, shards))
                    raise TrainingDataError(
                        f"no readable picture of at least {self.least}x{self.least} pixels in {names}"
                    )
        except TrainingDataError as error:
            self._ready.put(error)

    def _pictures_of(self, shard: Path) -> Iterator[Tensor]:
        try:
            with tarfile.open(shard, "r:") as tar:
                for member in tar:
                    data = tar.extractfile(member) if Path(member.name).suffix.lower() in SUFFIXES else None
                    if data is None:
                        continue
                    try:
                        picture = read_pixels(io.BytesIO(data.read()))
                    except Exception as error:  # what Pillow raises depends on the kind of damage
                        if len(self.unreadable) < HELD:
                            self.unreadable.append(f"{member.name} in {shard} is left out: {brief(error)}")
                        continue
                    if min(picture.shape[1:]) >= self.least:
                        yield picture
        except (OSError, tarfile.TarError) as error:
            raise TrainingDataError(f"cannot read the tar {shard}: {brief(error)}") from None
