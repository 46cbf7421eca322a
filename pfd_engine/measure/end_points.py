"""End points of maps over blocks of seeds: batched, with back-off on exhausted memory, and cached on disk by content."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from pfd_engine.errors import InputError, RunError
from pfd_engine.flow.maps import FlowMap
from pfd_engine.flow.noise import noise_of
from pfd_engine.measure.end_point_cache import EndPointCache

BLOCK_NOISES = 256
BLOCK_ELEMENTS = 2**24

__all__ = ["EndPointCache", "EndPoints", "Progress", "drain", "resolve_batch_size", "seed_blocks"]

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """A batch is done: `noises` of them went through `flow_map`, or came from the cache."""

    flow_map: FlowMap
    noises: int
    cached: bool


def drain(work: Generator[Any, None, T], see: Callable[[Any], object] | None = None) -> T:
    """Run a generator to its end and return its value; `see` is shown whatever it yields."""
    while True:
        try:
            item = next(work)
            if see is not None:
                see(item)
        except StopIteration as stop:
            result: T = stop.value
            return result


def seed_blocks(start: int, stop: int, shape: Sequence[int]) -> Iterator[range]:
    """Cut the seeds `[start, stop)` into blocks: the unit of work, of the cache and of shards. Their size depends on shape alone."""
    size = max(1, min(BLOCK_NOISES, BLOCK_ELEMENTS // math.prod(shape)))
    for first in range(start, stop, size):
        yield range(first, min(first + size, stop))


class EndPoints:
    """Computes end points block by block, from the cache where it can.

    `batch_size` is a number or "auto"; a batch that exhausts the device's memory is halved, for good, and tried again. `notes` collects
    what the user should hear of.
    Long work yields `Progress` after every batch, so that the caller can show it, or stop by no longer asking.
    """

    def __init__(
        self,
        batch_size: int | str = "auto",
        cache: EndPointCache | None = None,
    ) -> None:
        if batch_size != "auto" and (not isinstance(batch_size, int) or batch_size < 1):
            raise InputError(f"batch size is {batch_size!r}: give auto or a whole number from 1", "batch_size")
        self._batch_size = batch_size
        self._cache = cache
        self._limit: int | None = None
        self._told: set[str] = set()
        self.notes: list[str] = []

    def warnings(self) -> list[dict[str, Any]]:
        """Return the notes since the last call as warning events, each once."""
        found = [{"type": "warning", "message": note} for note in self.notes]
        self.notes.clear()
        return found

    def __call__(self, flow_map: FlowMap, seeds: range, shape: Sequence[int], condition: Any = None) -> Generator[Progress, None, Tensor]:
        """Yield progress and return the end points of a block of seeds, `(len(seeds), *shape)`, on the map's device.

        Raises RunError where memory is exhausted by a single sample.
        """
        key = getattr(flow_map, "cache_key", None) if condition is None else None
        device = getattr(flow_map, "device", "cpu")
        if key is not None:
            cached = self._cached(key, seeds)
            if cached is not None and cached.shape == (len(seeds), *shape):
                yield Progress(flow_map, len(seeds), cached=True)
                return cached.to(device)
        x0 = yield from self._compute(flow_map, seeds, shape, condition)
        if self._cache is not None and key is not None:
            note = self._cache.put(key, seeds, x0)
            self._note(self._cache.notes if note is None else [*self._cache.notes, note])
        return x0

    def pick(self, flow_map: FlowMap, seeds: Sequence[int], blocks: Sequence[range], shape: Sequence[int]) -> Tensor:
        """Return the end points of single seeds, in their order: rows of the cached blocks, computed anew where those are gone."""
        key = getattr(flow_map, "cache_key", None)
        rows: dict[int, Tensor] = {}
        for block in blocks:
            wanted = [seed for seed in seeds if seed in block]
            cached = self._cached(key, block) if wanted and key is not None else None
            if cached is not None and cached.shape == (len(block), *shape):
                rows |= {seed: cached[block.index(seed)] for seed in wanted}
        missing = [seed for seed in seeds if seed not in rows]
        if missing:
            rows |= dict(zip(missing, drain(self._compute(flow_map, missing, shape, None)).cpu(), strict=True))
        return torch.stack([rows[seed] for seed in seeds])

    def _cached(self, key: str, seeds: range) -> Tensor | None:
        """Return what the cache has, with a note where it was not sound."""
        if self._cache is None:
            return None
        found = self._cache.get(key, seeds)
        self._note(self._cache.notes)
        return found

    def _note(self, notes: Iterable[str]) -> None:
        """Keep what was not noted before: one trouble often meets every block."""
        new = [note for note in dict.fromkeys(notes) if note not in self._told and note not in self.notes]
        self._told.update(new)
        self.notes += new

    def _compute(self, flow_map: FlowMap, seeds: Sequence[int], shape: Sequence[int], condition: Any) -> Generator[Progress, None, Tensor]:
        device = torch.device(getattr(flow_map, "device", "cpu"))
        z = noise_of(seeds, shape).to(device)
        x0 = torch.empty_like(z)
        start, size = 0, self._limit or resolve_batch_size(self._batch_size, shape, device)
        while start < len(seeds):
            stop = min(start + size, len(seeds))
            part = None if condition is None else condition[start:stop]
            try:
                with torch.inference_mode():
                    mapped = flow_map(z[start:stop], seeds[start:stop], part)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                if size == 1:
                    raise RunError(f"one sample of shape {'x'.join(map(str, shape))} does not fit into the memory of {device}") from None
                size = self._limit = max(1, min(size, stop - start) // 2)
                if device.type == "cuda":
                    torch.cuda.empty_cache()
                continue
            if mapped.shape != z[start:stop].shape:
                raise InputError(
                    f"a map turned noise of shape {tuple(z[start:stop].shape)} into {tuple(mapped.shape)}: it must keep that shape"
                )
            x0[start:stop] = mapped
            yield Progress(flow_map, stop - start, cached=False)
            start = stop
        return x0


def resolve_batch_size(batch_size: int | str, shape: Sequence[int], device: torch.device) -> int:
    """Return a number of samples per network call.

    "auto" keeps about 2^18 (CPU) or 2^22 (GPU) numbers in a batch, 256 or 1,024 samples at most.
    """
    if batch_size != "auto":
        return int(batch_size)
    elements, most = (2**18, 256) if device.type == "cpu" else (2**22, 1024)
    return max(1, min(most, elements // math.prod(shape)))


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error) or "out of memory" in str(error).lower()
