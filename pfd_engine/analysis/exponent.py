"""The exponent a of `N* ~ parameters^a`: least squares over sizes, an interval from their residuals, and whether one power law fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pfd_engine.analysis.crossings import log_crossings
from pfd_engine.analysis.quantiles import Array, t_p_value, t_quantile
from pfd_engine.analysis.resampling import Jackknife, directions
from pfd_engine.analysis.students import Students

FEWEST_SIZES = 3


@dataclass(frozen=True)
class Exponent:
    """`log N* = intercept + value log parameters`, by least squares over `sizes`; NaN with fewer than three of them.

    `ci_low` and `ci_high` are the 95 % t interval of the residuals over sizes, with sizes - 2 degrees of freedom. The residuals hold the
    scatter of sizes about the line and each N*'s own error from students and noises; an error that all sizes share moves the intercept.
    `curvature` is the contrast of log N* that is quadratic in log parameters, of unit norm and orthogonal to the line; `lack_of_fit` is
    the p-value of its t test against the seed error, by a jackknife with seeds - 1 degrees of freedom (NaN with one seed).
    """

    value: float
    ci_low: float
    ci_high: float
    intercept: float
    sizes: tuple[str, ...]
    curvature: float
    lack_of_fit: float


def fit_exponent(students: Students, used: NDArray[np.bool_], jackknife: Jackknife) -> Exponent:
    """Fit the exponent to the sizes `used` `(sizes,)`, which all have parameters and a crossing."""
    sizes = tuple(size for size, chosen in zip(students.sizes, used, strict=True) if chosen)
    x, log_n = np.log(students.parameters[used]), np.log(students.num_samples.astype(np.float64))
    if len(sizes) < FEWEST_SIZES or np.ptp(x) < 1e-9:
        return Exponent(np.nan, np.nan, np.nan, np.nan, sizes, np.nan, np.nan)

    def log_crossing(errors: dict[str, Array]) -> Array:
        return log_crossings({metric: directions(e).mean[used] for metric, e in errors.items()}, log_n)[0]

    y = log_crossing({metric: np.sqrt(squared.mean(axis=-1)) for metric, squared in students.squared.items()})
    slope, intercept = (float(fitted[0]) for fitted in slopes(x, y[None]))
    residuals = y - intercept - slope * x
    half = float(t_quantile(len(sizes) - 1)) * float(np.sqrt((residuals**2).sum() / (len(sizes) - 2) / ((x - x.mean()) ** 2).sum()))
    curvature, lack_of_fit = np.nan, np.nan
    if len(np.unique(x)) > 2:
        weights = quadratic_contrast(x)
        curvature = float(weights @ y)
        variance = jackknife.variance(lambda errors: float(weights @ log_crossing(errors)), noises=False)
        if jackknife.seeds > 1 and variance > 0:
            lack_of_fit = float(t_p_value(np.asarray(curvature / np.sqrt(variance)), jackknife.seeds))
    return Exponent(slope, slope - half, slope + half, intercept, sizes, curvature, lack_of_fit)


def slopes(log_parameters: Array, log_crossings: Array) -> tuple[Array, Array]:
    """Return slope and intercept `(R,)` of least squares of `log_crossings` `(R, sizes)` on `log_parameters` `(sizes,)` or `(R, sizes)`.

    They are NaN where a value of the row is not finite.
    """
    x = np.broadcast_to(log_parameters, log_crossings.shape)
    centered = x - x.mean(axis=1, keepdims=True)
    y = np.where(np.isfinite(log_crossings), log_crossings, np.nan)
    slope = (centered * y).sum(axis=1) / (centered**2).sum(axis=1)
    return slope, y.mean(axis=1) - slope * x.mean(axis=1)


def quadratic_contrast(log_parameters: Array) -> Array:
    """Return the weights `(sizes,)`, of unit norm, that see what is quadratic in `log_parameters` and no straight line."""
    centered = log_parameters - log_parameters.mean()
    line = np.stack([np.ones_like(centered), centered], axis=1)
    square = centered**2
    square = square - line @ np.linalg.lstsq(line, square, rcond=None)[0]
    return np.asarray(square / np.linalg.norm(square))
