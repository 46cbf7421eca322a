"""What is said of a scaling sweep: one claim a sentence, every size by its parameters, and nothing that the data do not carry."""

import re

import numpy as np
import pytest

from pfd_engine.analysis import analyze_scaling, collapse_sentence, scaling_details, scaling_sentence
from pfd_engine.findings.tables import collapse_table, crossings_table
from tests.sweep_samples import SIZES, e_gen, e_mem, scaling_sweep, sweep_of_curves, true_crossings

GRID = 2 ** np.arange(4, 13)
SMALL_GRID = np.array([16, 64, 256, 1024])


def rng(seed=0):
    return np.random.default_rng(seed)


def crossing_at(n, grid=GRID):
    return e_gen(grid, n), e_mem(grid, n)


def said_of(analysis):
    """The sentence with what stands behind it."""
    return " ".join([scaling_sentence(analysis), *scaling_details(analysis), collapse_sentence(analysis)])


def of_gaps(*gaps, scatter=0.02, seeds=3):
    """The sentence and the table's first row for sizes whose E_mem - E_gen over four N is given."""
    curves = {size: (np.full(4, 3.0), 3 + np.array(gap)) for size, gap in zip(SIZES, gaps, strict=False)}
    analysis = analyze_scaling(*sweep_of_curves(rng(), curves, SMALL_GRID, scatter=scatter, seeds=seeds))
    return said_of(analysis), crossings_table(analysis).rows[0]


def test_a_full_sweep_is_said_with_the_numbers_of_the_analysis():
    analysis = analyze_scaling(*scaling_sweep(rng(1), true_crossings(), GRID, scatter=0.02, seeds=4))
    said = said_of(analysis)
    first, last, fit = analysis.crossings.iloc[0], analysis.crossings.iloc[-1], analysis.exponent
    assert said.startswith(
        f"After 500 training steps, a student of 30 k parameters needs about {first['crossing']:.0f} training images "
        f"[{first['ci_low']:.0f}, {first['ci_high']:.0f}] to lie closer to its teacher than to its training set. "
        f"A student of 1.9 M parameters needs about {last['crossing']:.0f} [{last['ci_low']:.0f}, {last['ci_high']:.0f}]. "
    )
    assert f"N* ~ parameters^a is {fit.value:.2f} [{fit.ci_low:.2f}, {fit.ci_high:.2f}] after 500 training steps." in said
    assert "The paper's 1/2 lies within this interval." in said
    assert "power law" in said
    assert "mlp" not in said
    assert not re.search(r"nan|inf\b|-0\b|\(\d+ to", said)
    for sentence in re.split(r"(?<=[.\])])\s(?=[A-Z])", said):
        assert sentence.count("[") <= 1, sentence


def test_students_that_are_no_better_than_a_constant_image_are_told_to_be():
    curves = {"mlp-16": (np.full(4, 5.0), 5 + np.array([-1, 1, 1, 1])), "mlp-64": crossing_at(64, SMALL_GRID)}
    sweep = sweep_of_curves(rng(), curves, SMALL_GRID)
    said = scaling_sentence(analyze_scaling(*sweep, spread=4.2))
    constant = "clearly closer to their teacher than a constant image, whose E_gen would be 4.20."
    assert f"At no measured N are students of 30 k parameters {constant}" in said
    assert "constant image" not in scaling_sentence(analyze_scaling(*sweep))
    assert f"students of 30 k and 120 k parameters {constant}" in scaling_sentence(analyze_scaling(*sweep, spread=1.0)).replace(
        "1.00", "4.20"
    )


def test_the_papers_exponent_is_told_to_lie_outside():
    said = said_of(analyze_scaling(*scaling_sweep(rng(2), true_crossings(0.2), GRID, scatter=0.01, seeds=4)))
    assert "The paper's 1/2 lies outside this interval." in said


def test_a_size_that_memorizes_again_is_not_said_to_generalize():
    said, row = of_gaps([-1, 1, 1, -1])
    assert "needs about" not in said
    assert "A student of 30 k parameters has no such number: at N = 1,024, its largest, it lies closer to its training set again." in said
    assert re.search(r"cross 2 times for 30 k parameters: at N of about 3\d \(to generalizing\) and 5\d\d \(to memorizing\)\.", said)
    assert row[2].startswith("none: closer to its training set again at N = 1,024 (crosses at")
    assert row[3] == "–"


def test_several_crossings_are_all_said():
    said, row = of_gaps([-1, 1, -1, 1])
    assert "cross 3 times for 30 k parameters" in said
    assert "; the last one counts." in said
    assert "needs about 5" in said
    assert "(crosses at 3" in row[2]


def test_closer_already_is_said_only_where_it_is_clear():
    clear, row = of_gaps([1, 2, 3, 3])
    assert "A student of 30 k parameters needs fewer than 16: there, at its smallest N, it lies closer to its teacher already." in clear
    assert row[2:4] == ["no crossing", "below 16"]
    unclear, row = of_gaps([0.01, 1, 2, 2], scatter=0.05)
    assert "already" not in unclear
    assert re.search(r"A student of 30 k parameters needs at most \d\d\.", unclear)
    assert "Whether a student of 30 k parameters lies closer to its teacher at N = 16, its smallest, cannot be told" in unclear
    assert re.search(r"cannot be told: E_mem / E_gen is 1\.0\d \[0\.9\d, 1\.0\d\]\.", unclear)
    assert row[3].startswith("at most ")


def test_still_memorizing_is_a_bound_from_below():
    clear, row = of_gaps([-3, -2, -2, -1])
    assert "A student of 30 k parameters needs more than 1,024: there, at its largest N, it still lies closer to its training set." in clear
    assert row[3] == "above 1,024"
    unclear, row = of_gaps([-2, -2, -1, -0.06], scatter=0.05)
    assert "still" not in unclear
    assert re.search(r"30 k parameters needs at least \d{3}\.", unclear)
    assert "lies closer to its teacher at N = 1,024, its largest, cannot be told" in unclear
    assert row[3].startswith("at least ")


def test_a_censored_middle_size_is_named():
    crossings = true_crossings()
    curves = {size: crossing_at(n) for size, n in crossings.items()}
    curves["mlp-64"] = (np.full(len(GRID), 4.0), np.full(len(GRID), 3.0))
    analysis = analyze_scaling(*sweep_of_curves(rng(3), curves, GRID))
    said = said_of(analysis)
    assert "A student of 120 k parameters needs more than 4,096" in said
    assert "Left out of the exponent, students of 120 k parameters memorize too little even at the smallest N" in said
    assert analysis.exponent.sizes == ("mlp-16", "mlp-128", "mlp-256")


def test_too_few_usable_sizes_are_said_with_what_is_missing():
    crossings = true_crossings() | {"mlp-16": 6.0, "mlp-256": 4000.0}
    said = said_of(analyze_scaling(*scaling_sweep(rng(4), crossings, GRID, scatter=0.02)))
    assert "parameters^a is" not in said
    assert "needs at least 3 sizes that go from memorizing to generalizing within the measured N, and 2 do." in said
    assert re.search(r"30 k parameters memorize too little even at the smallest N .*: smaller N are missing\.", said)
    assert re.search(r"1\.9 M parameters generalize too little even at the largest N .*: larger N are missing\.", said)
    one = said_of(analyze_scaling(*scaling_sweep(rng(5), {"mlp-16": 64.0}, GRID)))
    assert "and 1 does." in one


def test_a_negative_exponent_is_written_as_a_number_and_never_as_a_power():
    falling = true_crossings(-0.4, smallest=900.0)
    said = said_of(analyze_scaling(*scaling_sweep(rng(6), falling, GRID, scatter=0.02, seeds=4)))
    assert re.search(r"the exponent a of N\* ~ parameters\^a is −0\.\d\d \[−0\.\d\d, −0\.\d\d\]", said)
    assert "parameters^−" not in said
    assert "parameters^-" not in said


def test_no_growth_is_said_and_has_no_negative_zero():
    said = said_of(analyze_scaling(*scaling_sweep(rng(7), dict.fromkeys(SIZES, 200.0), GRID, scatter=0.02, seeds=4)))
    assert "−0.00" not in said
    assert not re.search(r"-0(\.0+)?\b", said)


def test_an_interval_that_holds_both_says_so():
    curves = {size: crossing_at(n) for size, n in zip(list(SIZES)[:3], (60.0, 400.0, 150.0), strict=True)}
    said = said_of(analyze_scaling(*sweep_of_curves(rng(8), curves, GRID)))
    assert "The paper's 1/2 lies within this interval, and so does 0, no growth at all." in said


def test_one_seed_speaks_of_the_noises_alone():
    said = said_of(analyze_scaling(*scaling_sweep(rng(9), true_crossings(), GRID, seeds=1, scatter=0.02)))
    assert re.search(r"training images \[\d+, \d+\] over the noises alone to lie closer", said)
    assert "Whether one power law fits these sizes cannot be tested without a second student seed." in said


def test_a_bend_is_said():
    log_p = np.log(list(SIZES.values()))
    x = log_p - log_p[0]
    bent = dict(zip(SIZES, np.exp(4.2 + 0.15 * x + 0.08 * x**2), strict=True))
    said = said_of(analyze_scaling(*scaling_sweep(rng(10), bent, GRID, seeds=4, scatter=0.02, noises=256)))
    assert "One power law does not describe these sizes well: log N* bends more than student seeds explain (p " in said


def test_sizes_alike_in_parameters_or_without_them_keep_their_names():
    parameters = {"mlp-a": 30_000, "mlp-b": 30_100}
    curves = {"mlp-a": crossing_at(64.0), "mlp-b": crossing_at(200.0), "mlp-c": crossing_at(300.0)}
    analysis = analyze_scaling(*sweep_of_curves(rng(11), curves, GRID, parameters))
    said = said_of(analysis)
    assert "a student of 30 k parameters (mlp-a) needs about" in said
    assert "A student of unknown size (mlp-c) needs about" in said
    assert "parameters^a is" not in said


@pytest.mark.parametrize("gap", [[-1, 1, 1, -1], [1, 1, 2, 2], [-1, -1, -1, -2], [0.01, 1, 2, 2]])
def test_no_table_cell_runs_backwards(gap):
    _, row = of_gaps(gap)
    assert not re.search(r"below .* to|to 0$|nan|inf", " ".join(row))


def test_the_collapse_table_states_the_papers_exponent_without_a_fitted_one():
    curves = {size: crossing_at(n) for size, n in list(true_crossings().items())[:2]}
    table = collapse_table(analyze_scaling(*sweep_of_curves(rng(12), curves, GRID)))
    assert [row[0] for row in table.rows] == ["the paper's", "none"]
    full = collapse_table(analyze_scaling(*scaling_sweep(rng(13), true_crossings(), GRID, scatter=0.02)))
    assert [row[0] for row in full.rows] == ["fitted", "the paper's", "none"]
    cell = re.fullmatch(r"(\d+)(?:\.\d)? % \[(\d+)(?:\.\d)?, (\d+)(?:\.\d)?\], p = 0\.\d+", full.rows[0][2])
    assert int(cell[2]) <= int(cell[1]) <= int(cell[3]) <= 100


def test_the_collapse_is_said_with_its_interval_and_its_chance():
    analysis = analyze_scaling(*scaling_sweep(rng(14), true_crossings(0.5), GRID, scatter=0.1))
    said, row = collapse_sentence(analysis), analysis.collapse.set_index(["curve", "kind"]).loc[("log(E_mem / E_gen)", "fitted")]
    assert "100 % [" not in said
    assert f"as much is removed in {100 * row['p_value']:.2g} % of the orders" in said
    assert "after 500 training steps" in said
    alone = analyze_scaling(*scaling_sweep(rng(15), {"mlp-16": 64.0}, GRID))
    assert collapse_sentence(alone) == ""


def test_one_value_of_n_says_that_it_is_too_few():
    analysis = analyze_scaling(*scaling_sweep(rng(16), true_crossings(), [64], seeds=2))
    said = said_of(analysis)
    assert said.startswith("Students of 30 k, 120 k, 480 k and 1.9 M parameters were measured at too few values of N to tell. An exponent")
    assert "and none does." in said
    assert {row[3] for row in crossings_table(analysis).rows} == {"–"}
