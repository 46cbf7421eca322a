"""RP and M scores: how often student and teacher, or student and training set, make the same image by SSCD (MATH.md, section 4)."""

from __future__ import annotations

import torch
from numpy.typing import NDArray
from torch import Tensor

from pfd_engine.analysis.intervals import Interval, proportion_interval
from pfd_engine.measure.descriptors import Descriptor

SIMILAR = 0.6
BATCH = 64


class CopyScores:
    """Counts copies over blocks of noises; `psi` gives unit vectors, `samples` `(N, *shape)` is the training set, None without one."""

    def __init__(self, psi: Descriptor, samples: Tensor | None, device: torch.device) -> None:
        self._psi = psi
        self._training = None if samples is None else torch.cat([self._features(part.to(device)) for part in samples.split(BATCH)])
        self._noises = self._replicated = self._copied = 0

    def add(self, squared: NDArray, images: Tensor) -> None:
        """Count one block: squared descriptor distances to the teacher `(n,)`, and the student's images `(n, *shape)`."""
        self._noises += len(squared)
        self._replicated += int((1 - squared / 2 > SIMILAR).sum())  # |a - b|^2 = 2 - 2 cos for unit vectors
        if self._training is not None:
            cosines = torch.cat([(self._features(part) @ self._training.T).amax(1) for part in images.split(BATCH)])
            self._copied += int((cosines > SIMILAR).sum())

    def shares(self) -> dict[str, Interval]:
        """Return the share of seeds at which student and teacher agree (`RP`) and of images that copy a training sample (`M`)."""
        counts = {"RP": self._replicated} | ({"M": self._copied} if self._training is not None else {})
        return {name: Interval(*proportion_interval(count, self._noises), "Wilson") for name, count in counts.items()}

    def _features(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            return self._psi(images).float()
