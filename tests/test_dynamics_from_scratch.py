"""The sentences of the training-dynamics and bias-variance pages are true: their numbers, computed again from the shipped rows.

Nothing of `pfd_engine.analysis` computes here: numpy, duckdb and the quantiles of scipy alone, written from the definitions. The sentences
are those of the pages; every number in them is compared.
"""

from __future__ import annotations

import itertools
import re

import duckdb
import numpy as np
import pytest
from scipy import stats

from pfd_engine.findings.sweeps import finding_sentence
from pfd_engine.store.database import Store
from pfd_engine.workspace import PUBLISHED_DATABASE


@pytest.fixture(scope="module")
def rows():
    with duckdb.connect(str(PUBLISHED_DATABASE), read_only=True) as connection:
        yield connection


def sweep_named(rows, experiment, name):
    found = rows.execute(
        "select distinct r.run_id from runs r join measurements m using (run_id) where m.experiment = ? and r.config->>'$.name' = ?",
        [experiment, name],
    ).fetchall()
    (run,) = found
    return run[0]


def sentence_of(run, experiment):
    with Store(None, PUBLISHED_DATABASE) as store:
        return finding_sentence(store, run, experiment)


def numbers_in(text):
    """Every number of a text, and how far a rounded one may be from what it stands for."""
    found = [match.replace(",", "") for match in re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", text)]
    return [(float(number), 10.0 ** -len(number.partition(".")[2]) if "." in number else 0.0) for number in found]


def compare(text, expected, bounds=()):
    """Check a sentence's numbers one by one: to half of the last digit that is written, bounds (by their place) rounded up to it."""
    written = numbers_in(text)
    assert len(written) == len(expected), (written, expected)
    for place, ((number, unit), truth) in enumerate(zip(written, expected, strict=True)):
        if place in bounds:
            assert truth <= number < truth + unit * 1.001, text
        else:
            assert abs(number - truth) <= unit / 2 * 1.001, text


def curves_of(rows, run):
    """E_gen's squared distances `(students, steps, noises)` of each N, its steps, and the number of parameters."""
    found = rows.execute(
        'select num_samples, student_seed, step, flatten(list("values" order by seeds_start)) from noise_distances '
        "where run_id = ? and metric = 'E_gen' group by all order by all",
        [run],
    ).fetchall()
    curves = {}
    for n, group in itertools.groupby(found, key=lambda row: row[0]):
        students = [list(student) for _, student in itertools.groupby(group, key=lambda row: row[1])]
        steps = [row[2] for row in students[0]]
        assert all([row[2] for row in student] == steps for student in students)
        curves[n] = np.array([[row[3] for row in student] for student in students]), steps
    (parameters,) = rows.execute(
        "select distinct parameters from measurements where run_id = ? and parameters is not null", [run]
    ).fetchall()
    return curves, parameters[0]


def intervals(squared, family):
    """Value and half width of the difference between every two steps, by t over the students, corrected for the family."""
    students, steps, noises = squared.shape
    value, half = np.zeros((steps, steps)), np.zeros((steps, steps))
    quantile = stats.t.isf(0.025 / family, students - 1)
    errors = np.sqrt(squared.mean(axis=2))
    for start, end in itertools.combinations(range(steps), 2):
        difference = errors[:, end] - errors[:, start]
        by_noise = (squared[:, end] / (2 * errors[:, end, None]) - squared[:, start] / (2 * errors[:, start, None])).mean(axis=0)
        value[start, end] = difference.mean()
        half[start, end] = quantile * np.sqrt(difference.var(ddof=1) / students + by_noise.var(ddof=1) / noises)
    return value, half


def moves_of(rows, run):
    curves, parameters = curves_of(rows, run)
    family = sum(len(steps) * (len(steps) + 1) // 2 for _, steps in curves.values())
    return {n: (*intervals(squared, family), steps) for n, (squared, steps) in curves.items()}, parameters


def clear_dip(value, half):
    """The dip between a clear fall and a clear rise whose smaller move is largest, with the end of that rise; None without one."""
    steps, best = len(value), (0.0, None)
    for dip in range(steps):
        falls = [-value[start, dip] for start in range(dip) if -value[start, dip] > half[start, dip]]
        rises = [(value[dip, end], end) for end in range(dip + 1, steps) if value[dip, end] > half[dip, end]]
        if falls and rises:
            rise, end = max(rises)
            best = max(best, (min(max(falls), rise), (dip, end)), key=lambda found: found[0])
    return best[1]


def bound(value, half, sign, start=0):
    """The largest move of a sign after a step that is not excluded."""
    return max(sign * value[a, b] + half[a, b] for a, b in itertools.combinations(range(start, len(value)), 2))


def test_the_usual_sweep_learns_and_overfits_or_only_falls(rows):
    run = sweep_named(rows, "training-dynamics", "training-dynamics-usual")
    moves, parameters = moves_of(rows, run)
    said = sentence_of(run, "training-dynamics").removesuffix(".").split(". ")
    assert len(said) == 5
    for first, n in ((0, 16), (2, 64)):
        value, half, steps = moves[n]
        dip, end = clear_dip(value, half)
        rise = [value[dip, end], value[dip, end] - half[dip, end], value[dip, end] + half[dip, end], steps[dip], steps[end]]
        opening = [20_000, round(parameters / 1000)] if first == 0 else []
        assert "learns first and then overfits" in said[first]
        compare(said[first], [*opening, n, *rise])
        compare(said[first + 1], [steps[dip], bound(value, half, -1, dip)], bounds=(1,))
        assert bound(value, half, -1, dip) < value[dip, end]  # no fall that could undo the rise
    last = (256, 1024, 4096)
    for n in last:
        value, half, _ = moves[n]
        largest = -value.min()
        assert largest > half[np.unravel_index(value.argmin(), value.shape)]
        assert bound(value, half, 1) < largest / 10
        assert clear_dip(value, half) is None
    assert "only gets better: its E_gen falls, and a rise above" in said[4]
    compare(said[4], [*last, max(bound(*moves[n][:2], 1) for n in last)], bounds=(3,))


def constant_image(rows, run):
    """The teacher's distance to its mean end point over the sweep's noises, as the shipped evaluations of the same noises state it."""
    [(value,)] = rows.execute(
        "select distinct e.spread from measurements e join (select any_value(teacher_revision) as teacher_revision, "
        "any_value(noise_seed) as noise_seed, any_value(num_noises) as num_noises from measurements where run_id = ?) "
        "using (teacher_revision, noise_seed, num_noises) where e.metric = 'PFD' and e.spread is not null and e.solver_steps = 18",
        [run],
    ).fetchall()
    return value


def errors_at(rows, run, num_samples, step):
    """E_gen of every student of one N at one step."""
    found = rows.execute(
        "select value from measurements where run_id = ? and metric = 'E_gen' and num_samples = ? and step = ?",
        [run, num_samples, int(step)],
    ).fetchall()
    return np.array([value for (value,) in found])


def test_the_other_sweep_shows_no_double_descent(rows):
    run = sweep_named(rows, "training-dynamics", "training-dynamics")
    moves, parameters = moves_of(rows, run)
    said = sentence_of(run, "training-dynamics").removesuffix(".").split(". ")
    assert len(said) == 5
    assert not any("double descent" in sentence for sentence in said)
    assert all(clear_dip(value, half) is None for value, half, _ in moves.values())
    value, half, steps = moves[16]
    peak, end = clear_dip(-value, half)  # of the curve upside down
    assert -value[peak, end] > half[peak, end]
    rise, start = max((value[start, peak], start) for start in range(peak) if value[start, peak] > half[start, peak])
    margin = half[start, peak]
    compare(said[0], [20_000, round(parameters / 1000), 16, rise, rise - margin, rise + margin, steps[start], steps[peak]])
    assert not (-value > half)[: start + 1, : start + 1][np.triu_indices(start + 1, 1)].any()  # no fall before
    assert "gets worse before it gets better" in said[0]
    spread, peaks = constant_image(rows, run), errors_at(rows, run, 16, steps[peak])
    assert peaks.mean() - stats.t.isf(0.025, len(peaks) - 1) * peaks.std(ddof=1) / np.sqrt(len(peaks)) > spread
    assert "worse than a constant image" in said[1]
    compare(said[1], [spread])
    for sentence, n in ((said[2], 32), (said[3], 64)):
        value, half, _ = moves[n]
        assert "gets better, but a rise of its E_gen by up to" in sentence
        assert (-value > half)[np.triu_indices(len(value), 1)].any()
        assert not (value > half)[np.triu_indices(len(value), 1)].any()
        assert bound(value, half, 1) >= -value.min() / 10
        compare(sentence, [n, bound(value, half, 1)], bounds=(1,))
    last = (256, 1024, 4096)
    assert all(bound(*moves[n][:2], 1) < -moves[n][0].min() / 10 for n in last)
    compare(said[4], [*last, max(bound(*moves[n][:2], 1) for n in last)], bounds=(3,))


def test_bias_falls_and_variance_rises_with_the_size(rows):
    run = sweep_named(rows, "bias-variance", "bias-variance")
    found = rows.execute(
        "select parameters, num_samples, metric, value, stderr from measurements where run_id = ? and student_seed is null "
        "and band is null and metric in ('bias2', 'variance', 'E_gen2')",
        [run],
    ).fetchall()
    parts = {(p, n, metric): (value, stderr) for p, n, metric, value, stderr in found}
    counted = rows.execute(
        "select parameters, num_samples, count(distinct student_seed) from measurements where run_id = ? and metric = 'E_gen' group by all",
        [run],
    ).fetchall()
    students = {(p, n): count for p, n, count in counted}
    assert set(students.values()) == {8}
    sizes, samples = sorted({p for p, _ in students}), sorted({n for _, n in students})
    said = sentence_of(run, "bias-variance").removesuffix(".").split(". ")
    assert len(said) == 4
    for sentence, metric, sign, word in ((said[0], "bias2", -1, "less bias²"), (said[1], "variance", 1, "more variance")):
        quantile = stats.t.isf(0.025 / (3 * len(samples)), 7)
        changes = []
        for n in samples:
            (first, e), (last, f) = parts[sizes[0], n, metric], parts[sizes[-1], n, metric]
            half = quantile * np.hypot(e, f)
            assert sign * (last - first) > half
            changes.append((sign * (last - first) - half, sign * (last - first), half, n))
        low, change, half, n = max(changes)
        assert word in sentence
        compare(sentence, [6_000, *samples, round(sizes[-1] / 1000), round(sizes[0] / 1000), change, low, change + half, n])
    larger = {"variance": 0, "bias²": 0, "undetermined": 0}
    for place in students:
        (_, b), (v, e), (total, f) = (parts[*place, metric] for metric in ("bias2", "variance", "E_gen2"))
        share = v / total
        covariance = e**2 + (f**2 - b**2 - e**2) / 2
        half = stats.t.isf(0.025 / len(students), 7) * np.sqrt(e**2 - 2 * share * covariance + share**2 * f**2) / total
        larger["variance" if share - half > 0.5 else "bias²" if share + half < 0.5 else "undetermined"] += 1
    expected = f"variance in {larger['variance']} and bias² in {larger['bias²']}, and in {larger['undetermined']} it is undetermined"
    assert said[2] == f"Of {len(students)} combinations of size and N, the larger part of E_gen² is {expected}"
    kept = rows.execute("select count(*) from measurements where run_id = ? and metric = 'largest_student_share'", [run]).fetchone()[0]
    assert (kept == 0) == (said[3] == "Whether a single student carries most of a variance was not stored with these rows")
