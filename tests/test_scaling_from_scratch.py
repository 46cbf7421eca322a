"""What is said of the shipped scaling sweep, computed a second time from its rows: numpy and duckdb alone, nothing of the analysis.

The first half recomputes, the second half compares number by number with `analyze_scaling`, its sentence and its tables.
"""

import math
import re

import duckdb
import numpy as np
import pytest

from pfd_engine.workspace import PUBLISHED_DATABASE

ROWS = """
select size, num_samples, student_seed, metric, flatten(list("values" order by seeds_start)) as squared
from noise_distances
where run_id = ? and metric in ('E_gen', 'E_mem') and student_seed is not null
group by size, num_samples, student_seed, metric
"""


def shipped():
    """Return sizes by their parameters, N, errors `(sizes, N, seeds)` of both metrics, and the step, all from the database."""
    with duckdb.connect(str(PUBLISHED_DATABASE), read_only=True) as connection:
        (run_id,) = connection.execute(
            "select run_id from runs where kind = 'sweep' and json_extract_string(config, '$.name') = 'scaling'"
        ).fetchone()
        (steps,) = connection.execute("select list(distinct step) from noise_distances where run_id = ?", [run_id]).fetchone()
        parameters = dict(
            connection.execute("select size, any_value(parameters) from measurements where run_id = ? group by size", [run_id]).fetchall()
        )
        rows = connection.execute(ROWS, [run_id]).fetchall()
    assert len(steps) == 1
    sizes = sorted(parameters, key=parameters.get)
    num_samples, seeds = sorted({row[1] for row in rows}), sorted({row[2] for row in rows})
    errors = {metric: np.full((len(sizes), len(num_samples), len(seeds)), np.nan) for metric in ("E_gen", "E_mem")}
    for size, n, seed, metric, squared in rows:
        errors[metric][sizes.index(size), num_samples.index(n), seeds.index(seed)] = math.sqrt(math.fsum(squared) / len(squared))
    assert all(np.isfinite(values).all() for values in errors.values())
    return run_id, sizes, np.array([parameters[size] for size in sizes]), np.array(num_samples), errors["E_gen"], errors["E_mem"], steps[0]


def last_crossing(log_n, gap):
    """Return log N where the gap E_mem - E_gen of one size last turns positive, NaN where it does not or is negative at the end."""
    value = math.nan
    for j in range(len(gap) - 1):
        if gap[j] < 0 <= gap[j + 1]:
            value = log_n[j] + gap[j] / (gap[j] - gap[j + 1]) * (log_n[j + 1] - log_n[j])
    return value if gap[-1] >= 0 else math.nan


def t_tail(t, freedom):
    """Return P(T > t) of Student's t by integrating its density over the angle atan(T / sqrt(freedom))."""
    angle = np.linspace(math.atan(t / math.sqrt(freedom)), math.pi / 2, 200_001)
    density = np.cos(angle) ** (freedom - 1)
    whole = np.linspace(-math.pi / 2, math.pi / 2, 200_001)
    return np.trapezoid(density, angle) / np.trapezoid(np.cos(whole) ** (freedom - 1), whole)


def t_upper(tail, freedom):
    """Return the t whose upper tail is `tail`, by bisection."""
    low, high = 0.0, 1000.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, freedom) > tail else (low, middle)
    return (low + high) / 2


def collapse(log_n, curves, seeds_of, shifts):
    """Return 1 - V(shifts) / V(0) of curves `(sizes, N)` on a fine grid of their common x, without the part that seeds explain."""
    x = np.linspace(log_n[0] - shifts.min(), log_n[-1] - shifts.max(), 4001)

    def between(moves):
        means = np.array([np.interp(x + move, log_n, curve) for move, curve in zip(moves, curves, strict=True)])
        each = [[np.interp(x + move, log_n, one) for one in seeds.T] for move, seeds in zip(moves, seeds_of, strict=True)]
        deviations = np.array(each) - means[:, None]
        count = deviations.shape[1]
        chance = np.var(deviations, axis=0, ddof=1).sum(axis=0) / (count * (count - 1))
        return np.trapezoid(np.var(means, axis=0, ddof=1) - chance, x)

    return 1 - between(shifts) / between(np.zeros(len(shifts)))


@pytest.fixture(scope="module")
def scratch():
    """Everything that the sentence says, computed anew."""
    run_id, sizes, parameters, num_samples, gen, mem, steps = shipped()
    log_n, log_p = np.log(num_samples), np.log(parameters)
    mean_gen, mean_mem = gen.mean(axis=-1), mem.mean(axis=-1)
    crossings = np.array([last_crossing(log_n, gap) for gap in mean_mem - mean_gen])
    reach = (mean_mem[:, 0] / mean_gen[:, 0] < 1 / 2) & (mean_gen[:, -1] / mean_mem[:, -1] < 3 / 4)
    x, y = log_p[reach], crossings[reach]
    design = np.stack([np.ones_like(x), x], axis=1)
    (intercept, slope), (squares,) = np.linalg.lstsq(design, y, rcond=None)[:2]
    freedom = len(x) - 2
    half = t_upper(0.025, freedom) * math.sqrt(squares / freedom / ((x - x.mean()) ** 2).sum())
    # The quadratic contrast is the coordinate of log N* along the part of x^2 that a line does not explain; its error is over the seeds.
    basis, _ = np.linalg.qr(np.stack([np.ones_like(x), x, x**2], axis=1))
    contrast = basis[:, 2] * np.sign(basis[0, 2])
    without = []
    for seed in range(gen.shape[-1]):
        gap = np.delete(mem, seed, axis=-1).mean(axis=-1) - np.delete(gen, seed, axis=-1).mean(axis=-1)
        without.append(contrast @ np.array([last_crossing(log_n, row) for row in gap[reach]]))
    count = len(without)
    error = math.sqrt((count - 1) / count * sum((value - np.mean(without)) ** 2 for value in without))
    ratio = np.log(mem / gen)
    scores = {
        kind: collapse(log_n, ratio.mean(axis=-1), ratio, a * (log_p - log_p.mean())) for kind, a in (("paper", 0.5), ("fitted", slope))
    }
    return {
        "run_id": run_id, "sizes": sizes, "parameters": parameters, "num_samples": num_samples, "steps": steps,
        "crossings": np.exp(crossings), "reach": reach, "exponent": (slope, slope - half, slope + half), "intercept": intercept,
        "curvature": contrast @ y, "lack_of_fit": 2 * t_tail(abs(contrast @ y) / error, count - 1), "collapse": scores,
    }  # fmt: skip


@pytest.fixture(scope="module")
def analysis(scratch):
    from pfd_engine.analysis import analyze_scaling
    from pfd_engine.store.database import Store
    from pfd_engine.store.queries.sweeps import sweep_distances, sweep_measurements

    with Store(None, PUBLISHED_DATABASE) as store:
        return analyze_scaling(sweep_measurements(store, scratch["run_id"]), sweep_distances(store, scratch["run_id"]))


def test_crossings_and_the_sizes_that_enter_are_those_of_the_rows(scratch, analysis):
    table = analysis.crossings
    assert list(table["size"]) == scratch["sizes"]
    np.testing.assert_allclose(table["crossing"], scratch["crossings"], rtol=1e-9)
    assert list(table["in_fit"]) == list(scratch["reach"])
    assert analysis.steps == scratch["steps"]
    reached = analysis.ends.groupby("size")["reached"].all()
    assert [reached[size] for size in scratch["sizes"]] == list(scratch["reach"])
    assert scratch["reach"].sum() == 4


def test_the_exponent_its_interval_and_its_lack_of_fit_are_those_of_the_rows(scratch, analysis):
    fit = analysis.exponent
    np.testing.assert_allclose([fit.value, fit.ci_low, fit.ci_high], scratch["exponent"], rtol=1e-6)
    np.testing.assert_allclose([fit.intercept, fit.curvature], [scratch["intercept"], scratch["curvature"]], rtol=1e-6)
    assert fit.lack_of_fit == pytest.approx(scratch["lack_of_fit"], rel=1e-4)


def test_the_collapse_scores_are_those_of_the_rows(scratch, analysis):
    table = analysis.collapse[analysis.collapse["curve"] == "log(E_mem / E_gen)"].set_index("kind")
    for kind, score in scratch["collapse"].items():
        assert table.loc[kind, "score"] == pytest.approx(score, abs=2e-3)


def test_the_sentence_says_the_numbers_of_the_rows(scratch, analysis):
    from pfd_engine.analysis import collapse_sentence, scaling_details, scaling_sentence

    said, details = scaling_sentence(analysis), " ".join(scaling_details(analysis))
    steps, crossed = f"{scratch['steps']:,}", np.flatnonzero(np.isfinite(scratch["crossings"]))
    first, last = ((scratch["parameters"][i], scratch["crossings"][i]) for i in (crossed[0], crossed[-1]))
    start = rf"After {steps} training steps, a student of {first[0] / 1000:.0f} k parameters needs about {first[1]:.0f} training images \["
    assert re.match(start, said)
    assert f" A student of {last[0] / 1000:.0f} k parameters needs about {last[1]:.0f} [" in said
    value, low, high = scratch["exponent"]
    used = scratch["parameters"][scratch["reach"]] / 1000
    assert f"Over the {len(used)} sizes from {used[0]:.0f} k to {used[-1]:.0f} k parameters" in said
    assert f"is {value:.2f} [{low:.2f}, {high:.2f}] after {steps} training steps." in said
    assert f"The paper's 1/2 lies {'within' if low <= 0.5 <= high else 'outside'} this interval." in said
    assert f"(p = {scratch['lack_of_fit']:.2g}, " in details
    assert f"removes {100 * scratch['collapse']['fitted']:.0f} % [" in collapse_sentence(analysis)
    assert "Left out of the exponent, students of 12 k, 22 k and 36 k parameters memorize too little" in details
    *_, without = (i for i in range(len(scratch["sizes"])) if i not in crossed)
    assert f"A student of {scratch['parameters'][without] / 1000:.0f} k parameters needs at most" in said


def test_the_tables_say_the_numbers_of_the_rows(scratch, analysis):
    from pfd_engine.findings.tables import collapse_table, crossings_table

    rows = crossings_table(analysis).rows
    assert [row[0] for row in rows] == scratch["sizes"]
    assert [row[2] for row in rows] == [f"{n:.0f}" if n == n else "no crossing" for n in scratch["crossings"]]
    assert [row[5] == "yes" for row in rows] == list(scratch["reach"])
    cells = {row[0]: row for row in collapse_table(analysis).rows}
    value, low, high = scratch["exponent"]
    assert cells["fitted"][1] == f"{value:.3f} [{low:.3f}, {high:.3f}]"
    for name, kind in (("fitted", "fitted"), ("the paper's", "paper")):
        assert cells[name][2].startswith(f"{100 * scratch['collapse'][kind]:.0f} % [")
