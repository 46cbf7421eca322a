"""The Explore page's questions: aggregates equal those of the same rows by hand, pages are complete, and no text becomes SQL."""

import numpy as np
import pandas as pd
import pytest

from pfd_engine import figures
from pfd_engine.errors import InputError
from pfd_engine.sharing.selection import publish
from pfd_engine.store.database import Store
from pfd_engine.store.queries import explore as queries
from pfd_engine.store.queries.explore import Grouping, Selection
from pfd_engine.workspace import Workspace
from tests.finding_samples import finished_sweep
from tests.run_samples import append_raw, finished_run, measurement

HOSTILE = ["x' or 1=1 --", "'; drop table workspace.measurements; --", '"', "%", "_", "\\", "a\nb", "💥", "x" * 5000]


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """A store over a sweep of each experiment and an evaluation."""
    workspace = Workspace(tmp_path_factory.mktemp("explore"))
    for experiment in ("scaling", "training-dynamics", "bias-variance"):
        finished_sweep(workspace, experiment)
    finished_run(workspace)
    with Store(workspace, None) as store:
        store.ingest()
        yield store


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "home")


def of(metric, **more):
    return Selection((("metric", (metric,)),), **more)


def store_of(workspace, *rows):
    """Return an ingested store of one evaluation with these numbers besides its own."""
    append_raw(finished_run(workspace), *(measurement(metric="E_gen", noise_seed=k, **row) for k, row in enumerate(rows)))
    store = Store(workspace, None)
    store.ingest()
    return store


def all_groups(store, selection, grouping, **order):
    query = queries.groups_query(selection, grouping, **order)
    return queries.groups_page(store, query, grouping.columns, 1, 10_000)


@pytest.mark.parametrize("spread", queries.SPREADS)
@pytest.mark.parametrize("columns", [("size", "num_samples"), ("num_samples",), ("experiment", "student_seed"), ()])
def test_groups_equal_those_of_pandas(big, spread, columns):
    rows = big.frame("select * from measurements where metric = 'E_gen'")
    grouped = rows.groupby([*columns, "descriptor"], dropna=False)["value"]
    se = grouped.std() / np.sqrt(grouped.count())
    expected = {
        "stderr": (grouped.mean() - se, grouped.mean() + se),
        "range": (grouped.min(), grouped.max()),
        "quantiles": (grouped.quantile(0.05), grouped.quantile(0.95)),
    }[spread]
    found = all_groups(big, of("E_gen"), Grouping(columns, spread)).set_index([*columns, "descriptor"]).sort_index()
    assert len(found) == len(grouped.mean()) == queries.count_groups(big, of("E_gen"), columns)
    for name, values in (
        ("mean", grouped.mean()),
        ("low", expected[0]),
        ("high", expected[1]),
        ("stderr", se),
        ("numbers", grouped.count()),
    ):
        np.testing.assert_allclose(found[name].to_numpy(dtype=float), values.sort_index().to_numpy(dtype=float), rtol=1e-12, err_msg=name)


def test_a_single_number_has_no_error_and_no_band_of_it(workspace):
    with store_of(workspace, {"size": "S", "value": 2.0}) as store:
        (row,) = all_groups(store, of("E_gen"), Grouping(("size",))).to_dict("records")
    assert row["mean"] == 2.0
    assert all(np.isnan(row[name]) for name in ("stderr", "low", "high"))


@pytest.mark.parametrize(("relation", "value", "error"), [("difference", 4.0, 5**0.5), ("ratio", 3.0, 13**0.5 / 2)])
def test_a_baseline_gives_differences_and_ratios_with_their_errors(workspace, relation, value, error):
    rows = [{"size": "A", "value": 1.0}, {"size": "A", "value": 3.0}, {"size": "B", "value": 4.0}, {"size": "B", "value": 8.0}]
    with store_of(workspace, *rows) as store:  # A: 2 with error 1; B: 6 with error 2
        found = all_groups(store, of("E_gen"), Grouping(("size",), baseline="A", relation=relation)).set_index("size")
        plain = all_groups(store, of("E_gen"), Grouping(("size",)))
    assert found.loc["B", "relative"] == pytest.approx(value)
    assert found.loc["B", "relative_stderr"] == pytest.approx(error)
    assert found.loc["A", "relative"] == (0.0 if relation == "difference" else 1.0)
    assert "relative" not in plain


def test_a_baseline_of_nobody_leaves_all_groups_without_a_comparison(big):
    found = all_groups(big, of("E_gen"), Grouping(("size",), baseline="nobody"))
    assert len(found) == len(all_groups(big, of("E_gen"), Grouping(("size",))))
    assert found["relative"].isna().all()
    assert not queries.has_group(big, of("E_gen"), ("size",), "nobody")
    assert queries.has_group(big, of("E_gen"), ("size", "num_samples"), "mlp-32|16")


def test_quantities_descriptors_and_bands_are_never_averaged_together(workspace):
    rows = [{"value": 1.0}, {"value": 3.0, "descriptor": "sscd"}, {"value": 5.0, "band": "pc 1-4"}]
    with store_of(workspace, *rows) as store:
        found = all_groups(store, Selection(), Grouping(()))
    assert sorted(found["mean"]) == [1.0, 1.5, 3.0, 5.0]  # 1.5: the PFD of the run itself


def test_numbers_of_the_diagnostic_map_are_kept_apart_by_the_name_of_their_quantity(workspace):
    rows = [{"value": 1.0, "outside_range": "student"}, {"value": 3.0}, {"value": 9.0, "outside_range": "teacher"}]
    with store_of(workspace, *rows) as store:
        found = all_groups(store, Selection(), Grouping(()))
        assert dict(zip(found["metric"], found["mean"], strict=True)) == {"E_gen": 2.0, "E_gen (diagnostic map)": 9.0, "PFD": 1.5}
        assert queries.count_rows(store, of("E_gen")) == 2
        assert queries.count_rows(store, of("E_gen (diagnostic map)")) == 1
        assert "E_gen (diagnostic map)" in queries.facets(store)["metric"]


def test_sizes_come_in_the_order_of_their_parameters(big):
    found = all_groups(big, of("E_gen"), Grouping(("size",)))["size"].tolist()
    assert found == ["mlp-32", "mlp-64", "mlp-128"]
    assert all_groups(big, of("E_gen"), Grouping(("size",)), descending=True)["size"].tolist() == found[::-1]
    means = all_groups(big, of("E_gen"), Grouping(("size", "num_samples")), order="mean", descending=True)["mean"]
    assert means.is_monotonic_decreasing


@pytest.mark.parametrize("order", queries.ROW_ORDERS)
def test_pages_of_numbers_are_complete_and_do_not_overlap(big, order):
    query = queries.rows_query(of("E_gen"), order, descending=True)
    total = queries.count_rows(big, of("E_gen"))
    pages = [queries.rows_page(big, query, page, 40) for page in range(1, total // 40 + 2)]
    assert max(map(len, pages)) == 40
    whole = pd.concat(pages)
    assert len(whole) == total == len(whole.drop_duplicates())
    assert total == len(big.frame("select * from measurements where metric = 'E_gen'"))


def test_filters_agree_with_pandas(big):
    rows = big.frame("select * from measurements")
    chosen = Selection((("metric", ("E_gen", "E_mem")), ("size", ("mlp-32", "mlp-64"))), "SEED 1", 64, 256)
    expected = rows[
        rows["metric"].isin(["E_gen", "E_mem"]) & rows["size"].isin(["mlp-32", "mlp-64"]) & rows["num_samples"].between(64, 256)
        & rows["student"].str.contains("seed 1", regex=False)
    ]  # fmt: skip
    assert queries.count_rows(big, chosen) == len(expected) > 0


def test_only_the_last_training_step_of_each_run_is_kept_when_asked_for(big):
    dynamics = (("experiment", ("training-dynamics",)), ("metric", ("E_gen",)))
    steps = {
        last: set(queries.rows_page(big, queries.rows_query(Selection(dynamics, last=last)), 1, 500)["step"]) for last in (True, False)
    }
    assert steps == {True: {6400}, False: {100, 400, 1600, 6400}}
    assert queries.count_rows(big, of("PFD", last=True)) == 1  # an evaluation without a step stays


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_values_and_nothing_else(big, text):
    before = queries.count_rows(big, Selection())
    for selection in (Selection(student=text), *(Selection(((name, (text,)),)) for name in queries.FILTERS)):
        assert queries.count_rows(big, selection) == 0
        assert queries.points(big, selection, "num_samples", "size", "range").empty
    assert queries.items(big, [text, f"{text}|{text}"]) == {}
    assert queries.count_behind(big, Selection(), ("size",), text) == 0
    assert not queries.has_group(big, Selection(), ("size",), text)
    assert queries.count_rows(big, Selection()) == before


def test_wild_cards_in_a_students_name_are_plain_characters(workspace):
    with store_of(workspace, {"student": "a%b", "value": 1.0}, {"student": "a_b", "value": 1.0}, {"student": "axb", "value": 1.0}) as store:
        assert [queries.count_rows(store, of("E_gen", student=text)) for text in ("%", "_", "A%B", "x")] == [1, 1, 1, 1]


@pytest.mark.parametrize("name", ["value; drop table runs", "key", "", "size, value", "1"])
def test_columns_outside_the_lists_are_refused(big, name):
    asked = [
        lambda: queries.count_rows(big, Selection(((name, ("x",)),))),
        lambda: Grouping((name,)),
        lambda: Grouping((), name).query(Selection()),
        lambda: Grouping((), relation=name).query(Selection()),
        lambda: queries.rows_query(Selection(), name),
        lambda: queries.groups_query(Selection(), Grouping(()), name),
        lambda: queries.points(big, Selection(), name, None, "range"),
        lambda: queries.points(big, Selection(), "num_samples", name, "range"),
        lambda: queries.points(big, Selection(), "num_samples", None, name),
        lambda: queries.count_behind(big, Selection(), (name,), "x"),
    ]
    for ask in asked:
        with pytest.raises(InputError, match="choose one of"):
            ask()


def test_the_numbers_behind_a_group_are_its_own(big):
    columns = ("size", "num_samples")
    for row in all_groups(big, of("E_gen"), Grouping(columns)).to_dict("records"):
        behind = queries.rows_page(big, queries.behind_query(of("E_gen"), columns, row["key"]), 1, 10_000)
        assert len(behind) == row["numbers"] == queries.count_behind(big, of("E_gen"), columns, row["key"])
        assert behind["value"].mean() == pytest.approx(row["mean"])
        assert behind["run_id"].nunique() == row["runs"]


def test_points_are_groups_that_state_their_axis_and_are_bounded(big, monkeypatch):
    points = queries.points(big, of("E_gen"), "num_samples", "size", "range")
    groups = all_groups(big, of("E_gen"), Grouping(("size", "num_samples"), "range"))
    assert points["x"].notna().all()
    merged = points.merge(groups, left_on=["color", "x"], right_on=["size", "num_samples"])
    assert len(merged) == len(points) == groups["num_samples"].notna().sum()
    for name in ("mean", "low", "high", "numbers"):
        np.testing.assert_array_equal(merged[f"{name}_x"], merged[f"{name}_y"])
    key = points["key"].iloc[0]
    assert queries.count_behind(big, of("E_gen"), ("num_samples", "size"), key) == points["numbers"].iloc[0]
    monkeypatch.setattr(queries, "MAX_POINTS", 5)
    assert len(queries.points(big, of("E_gen"), "num_samples", "size", "range")) == 5


def test_a_run_that_is_published_too_counts_once(workspace, tmp_path):
    finished_sweep(workspace, "bias-variance")
    with Store(workspace, None) as store:
        store.ingest()
        alone = queries.count_rows(store, Selection())
        publish(store, None, tmp_path / "published.duckdb")
    with Store(workspace, tmp_path / "published.duckdb") as both:
        assert queries.count_rows(both, Selection()) == alone
        assert queries.count_rows(both, Selection((("source", ("published",)),))) == alone
        assert queries.facets(both)["source"] == {"workspace": alone}


def test_students_are_named_by_their_run_and_in_a_sweep_by_their_name(big):
    runs = big.rows("select run_id, kind, json_extract_string(config, '$.experiment') as experiment from runs")
    sweep = next(run["run_id"] for run in runs if run["experiment"] == "scaling")
    evaluation = next(run["run_id"] for run in runs if run["kind"] == "evaluate")
    student = f"{sweep}|mlp-32 N=16 seed 0"
    assert queries.items(big, [student, evaluation, sweep, f"{evaluation}|x", f"{sweep}|x"]) == {
        student: "scaling",
        evaluation: "evaluation",
    }


def test_a_table_written_as_csv_equals_the_frame(big, tmp_path):
    sql, parameters = queries.groups_query(of("E_gen"), Grouping(("size",), "quantiles", "mlp-32"))
    big.write(f"{sql} limit ?", [*parameters, queries.MAX_EXPORT], tmp_path / "table.csv", "csv")
    written = pd.read_csv(tmp_path / "table.csv")
    pd.testing.assert_frame_equal(written, big.frame(sql, parameters).astype({"band": float}), check_dtype=False)


def points_frame(means, low, high, color=("a", "a"), x=(1, 10)):
    return pd.DataFrame({
        "x": x, "color": color, "place": 0, "metric": "E_gen", "descriptor": "pixel", "band": None, "mean": means, "low": low, "high": high,
        "numbers": 3, "runs": 2, "key": ["k1", "k2"],
    })  # fmt: skip


def test_the_figure_draws_the_means_with_their_band_and_key():
    figure = figures.explore(points_frame([2.0, 1.0], [1.5, 0.5], [2.5, 1.5]), "num_samples", "size", "data units")
    band, line = figure.data
    np.testing.assert_array_equal(line.y, [2.0, 1.0])
    np.testing.assert_array_equal(band.y, [2.5, 1.5, 0.5, 1.5])
    assert [data[0] for data in line.customdata] == ["k1", "k2"]
    assert figure.layout.yaxis.title.text == "mean E_gen (data units)"
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", "linear")


def test_a_band_that_reaches_zero_stays_on_a_logarithmic_axis():
    frame = points_frame([2.0, 1.0], [-1.0, 0.5], [2.5, 1.5])
    band, _ = figures.explore(frame, "num_samples", "size", "", log_y=True).data
    assert min(band.y) == pytest.approx(0.1)


def test_more_curves_than_can_be_told_apart_are_not_drawn():
    frame = pd.concat([points_frame([2.0, 1.0], [1.0, 1.0], [3.0, 3.0], color=(f"c{k:02}",) * 2) for k in range(30)])
    assert len(figures.series(frame)) == 30
    figure = figures.explore(frame, "num_samples", "student", "")
    assert [trace.name for trace in figure.data if trace.mode == "lines+markers"] == [f"c{k:02}" for k in range(figures.MAX_SERIES)]
