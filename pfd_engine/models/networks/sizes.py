"""Student ladders: named sizes of one family, in one table with their parameters and the memory that training takes. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pfd_engine.errors import InputError
from pfd_engine.models.networks.options import DiTOptions, MLPOptions, NetworkOptions, UNetOptions, by

LADDER_SHAPES = {"mlp": (1, 8, 8), "unet": (3, 32, 32), "dit": (3, 32, 32)}
NOISE_LEVELS = {"mlp": (0.0, 1.4), "unet": (-1.2, 1.2), "dit": (-1.2, 1.2)}  # mean and deviation of ln sigma (MATH: section 5)
LADDER_BATCH = 128
MLP_SIDE, MLP_VALUES = 16, 1024
MIB = 2**20


@dataclass(frozen=True)
class Rung:
    """One size: its family, the options of its network, and for the ladder's own shape and a batch of 128 the number of parameters and the
    estimated memory of training in MiB (float32 weights, gradients, Adam's moments and the average, and the batch's activations).
    """

    name: str
    family: str
    options: NetworkOptions
    parameters: int
    memory_mib: int

    def count_parameters(self, shape: Sequence[int]) -> int:
        """Return the number of parameters for samples of `shape`."""
        return self.options.count_parameters(shape)

    def training_bytes(self, shape: Sequence[int], batch_size: int) -> int:
        """Return the estimated memory of training for samples of `shape`, in bytes."""
        return self.options.training_bytes(shape, batch_size)

    def check_shape(self, shape: Sequence[int]) -> None:
        """Raise InputError where the network cannot take samples of `shape`."""
        if self.family == "mlp" and (math.prod(shape) > MLP_VALUES or (len(shape) == 3 and max(shape[1:]) > MLP_SIDE)):
            raise InputError(
                f"size {self.name} is for inputs of up to {MLP_SIDE}x{MLP_SIDE} but the teacher makes {by(shape)}: choose a size of "
                "the families unet or dit",
                "size",
            )
        try:
            self.options.check_shape(shape)
        except ValueError as error:
            raise InputError(f"size {self.name} does not fit, {error}", "size") from None


# Name, family, options, then parameters and MiB at 1x8x8 (mlp) or 3x32x32 (unet, dit).
RUNGS: tuple[Rung, ...] = (
    Rung("mlp-32", "mlp", MLPOptions(width=32), 11_776, 1),
    Rung("mlp-48", "mlp", MLPOptions(width=48), 22_240, 1),
    Rung("mlp-64", "mlp", MLPOptions(width=64), 35_776, 1),
    Rung("mlp-96", "mlp", MLPOptions(width=96), 72_064, 2),
    Rung("mlp-128", "mlp", MLPOptions(width=128), 120_640, 3),
    Rung("mlp-192", "mlp", MLPOptions(width=192), 254_656, 6),
    Rung("mlp-256", "mlp", MLPOptions(width=256), 437_824, 10),
    Rung("mlp-384", "mlp", MLPOptions(width=384), 951_616, 21),
    Rung("mlp-512", "mlp", MLPOptions(width=512), 1_662_016, 35),
    Rung("unet-24", "unet", UNetOptions(width=24), 916_035, 1187),
    Rung("unet-32", "unet", UNetOptions(width=32), 1_624_323, 1591),
    Rung("unet-48", "unet", UNetOptions(width=48), 3_645_315, 2410),
    Rung("unet-64", "unet", UNetOptions(width=64), 6_472_195, 3243),
    Rung("unet-80", "unet", UNetOptions(width=80), 10_104_963, 4093),
    Rung("unet-96", "unet", UNetOptions(width=96), 14_543_619, 4957),
    Rung("unet-112", "unet", UNetOptions(width=112), 19_788_163, 5837),
    Rung("unet-128", "unet", UNetOptions(width=128), 25_838_595, 6733),
    Rung("unet-160", "unet", UNetOptions(width=160), 40_357_123, 8570),
    Rung("unet-192", "unet", UNetOptions(width=192), 58_099_203, 10468),
    Rung("dit-4x64", "dit", DiTOptions(layers=4, heads=2, head_width=32), 396_272, 176),
    Rung("dit-4x128", "dit", DiTOptions(layers=4, heads=2), 1_431_472, 363),
    Rung("dit-4x192", "dit", DiTOptions(layers=4, heads=3), 3_105_648, 563),
    Rung("dit-6x192", "dit", DiTOptions(layers=6, heads=3), 4_612_080, 844),
    Rung("dit-6x256", "dit", DiTOptions(layers=6, heads=4), 8_049_968, 1162),
    Rung("dit-8x256", "dit", DiTOptions(layers=8, heads=4), 10_681_136, 1548),
    Rung("dit-8x384", "dit", DiTOptions(layers=8, heads=6), 23_591_088, 2466),
    Rung("dit-12x384", "dit", DiTOptions(layers=12, heads=6), 35_220_144, 3696),
)
LADDERS: dict[str, dict[str, Rung]] = {family: {rung.name: rung for rung in RUNGS if rung.family == family} for family in LADDER_SHAPES}


def size_names() -> list[str]:
    """Return the names of all sizes, family by family, small ones first."""
    return [rung.name for rung in RUNGS]


def find_rung(name: str) -> Rung:
    """Return a size by its name; raises InputError where no ladder has it."""
    for rung in RUNGS:
        if rung.name == name:
            return rung
    family = name.partition("-")[0]
    known = LADDERS.get(family)
    offered = ", ".join(known or size_names())
    raise InputError(f"size is {name[:60]!r}: choose one of {offered}", "size")
