"""Which text each name in the documents' markers stands for."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.docs_numbers import pair, sweeps
from benchmarks.docs_numbers.results import Results

VALUES: dict[str, Callable[[Results], str]] = {
    "pair.noises": pair.noises,
    "pair.table": pair.table,
    "pair.verdicts": pair.verdicts,
    "pair.constant-image": pair.constant_image,
    "pair.unrelated": pair.unrelated,
    "pair.floor": pair.floor,
    "pair.solver-error": pair.solver_error,
    "pair.unseen": pair.unseen,
    "scaling.design": sweeps.design("scaling"),
    "scaling.sentence": sweeps.sentence("scaling"),
    "scaling.details": sweeps.details,
    "scaling.collapse": sweeps.collapse,
    "dynamics.size": sweeps.size_of_dynamics,
    "dynamics.headline": sweeps.no_double_descent,
    "dynamics.table": sweeps.dynamics_table,
    "dynamics.usual.design": sweeps.design(sweeps.USUAL),
    "dynamics.usual.sentence": sweeps.sentence(sweeps.USUAL),
    "dynamics.rare.design": sweeps.design(sweeps.RARE),
    "dynamics.rare.sentence": sweeps.sentence(sweeps.RARE),
    "dynamics.rare.dip": sweeps.error_at(32, 132),
    "dynamics.rare.peak": sweeps.error_at(32, 403),
    "dynamics.rare.rise": sweeps.rise(32, 132, 403),
    "dynamics.rare.peak-16": sweeps.error_at(16, 704),
    "bias-variance.design": sweeps.design("bias-variance"),
    "bias-variance.sentence": sweeps.sentence("bias-variance"),
    "bias-variance.larger-part": sweeps.larger_part,
}
