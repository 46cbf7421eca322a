"""Result: one evaluation or distillation with its intervals, its convergence, the images behind it and where it comes from (`?run=ID`)."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from pages.frame.page import COMPARE, EVALUATE, RUNS, alert, is_demo, live, page

if TYPE_CHECKING:
    from pages.widgets.result import Result


def show() -> None:
    """Draw the page."""
    from pages.reads.findings import find_sweep
    from pages.reads.store import caption_of_source, find_run, read_result, refresh
    from pages.widgets.finding import sweep_result

    run_id = st.query_params.get("run", "")
    if not run_id:
        st.query_params.clear()  # the sidebar's link to this page, clicked on a result, leaves that result's run in the address
        choose("Result", "Which result would you like to see?")
        return
    if (sweep := find_sweep(run_id)) is not None and sweep[1].state == "finished":
        st.title("Result")
        sweep_result(*sweep)
        return
    result = read_result(run_id)
    if result is not None:
        draw(result)
        caption_of_source()
        return
    run = find_run(run_id)
    if run is None:
        choose("Result", f"There is no run {run_id[:80]!r} here.", missing=True)
        return
    if run.status.state == "finished":
        refresh()
        result = read_result(run_id)
        if result is not None:
            draw(result)
            return
    st.title("Result")
    watch(run_id)


@live(1)
def watch(run_id: str) -> None:
    """Follow a run that has no result yet; the page is drawn anew once it has."""
    from pages.forms.launch import form_link
    from pages.reads.store import find_run, see_to_worker
    from pages.widgets import html as words
    from pages.widgets.progress import bar

    run = find_run(run_id)
    if run is None or not (run.path / "status.json").is_file():
        st.html(alert(f"run {run_id} is gone: its folder was deleted. Measure the pair again on the Evaluate page"))
        st.page_link(RUNS, label="All runs")
        return
    status, values = run.status, run.config_values
    if status.state == "finished" and run.result is not None:
        st.rerun(scope="app")
    see_to_worker(run)
    if values:
        st.markdown(words.run_title(values))
    bar(status)
    if status.state == "failed":
        st.html(alert(status.message or "the run failed without saying why: its log is on the Runs page"))
    if status.state == "finished":
        st.html(alert("the run finished but left no result that can be read: measure the pair again"))
    if status.state in ("failed", "cancelled", "finished") and values:
        form, fields = form_link(run.values_here)
        st.page_link(form, label="Change it and try again", query_params=fields)
    elif status.state in ("queued", "running"):
        st.caption("You can close this page: the run goes on, and its result will be under the same link.")
    st.page_link(RUNS, label="All runs")


def choose(title: str, sentence: str, missing: bool = False) -> None:
    """Offer the latest results where the URL names none, or one that does not exist."""
    from pages.reads.store import latest_results
    from pages.widgets import result as results

    st.title(title)
    if missing:
        st.html(alert(sentence))
    latest = latest_results(8)
    if not latest and is_demo():
        st.info("Nothing is published here yet.")
        return
    if not latest:
        st.info("There is no result yet. Measure a pair on the Evaluate page, and it will appear here.")
        st.page_link(EVALUATE, label="Go to Evaluate")
        return
    st.markdown("The latest results:" if missing else sentence)
    for summary in latest:
        with st.container(border=True):
            results.summary_card(summary)
            # A page link to the page that is open already would change what is shown and leave the address behind.
            st.html(f'<a class="open-result" href="?run={escape(summary.run_id)}">Open the result</a>')


def draw(result: Result) -> None:
    """Draw everything about one result, the answer first."""
    from pages.widgets import code as folded
    from pages.widgets import distillation, exports, provenance
    from pages.widgets import html as words
    from pages.widgets import result as results
    from pages.widgets.wall import wall
    from pfd_engine.findings.context import how_big
    from pfd_engine.wording.citation import bibtex, methods_of_result

    summary = result.summary
    st.title("Result")
    apart = words.markdown(" · ".join(part for part in (summary.apart, words.source(summary.source)) if part))
    st.markdown(f"**{results.title(summary)}**{results.kinds(summary)}" + (f"  \n:small[:gray[{apart}]]" if apart else ""))
    if sentence := results.verdict_html(result):
        st.html(sentence)
    if sentence := how_big(result.verdict, result.baselines, summary.descriptor):
        st.markdown(words.markdown(sentence))
    st.html(results.cards(result))
    if warned := results.warnings_html(result.warnings):
        st.html(warned)
    measure_again(result)
    notes(result)
    if summary.distillation:
        distillation.evaluations(result)

    st.header("Same noise, both models")
    if drawn := wall(result.pairs):
        coupled = f" For this student it {summary.note}." if summary.note else ""
        st.caption(f"Each column starts from one noise. Below it: the distance between teacher and student.{coupled}")
        st.html(drawn)
        st.page_link(COMPARE, label="Compare it with others", query_params={"item": summary.run_id})
    else:
        st.info("This run kept no images: its samples are not pictures of one or three channels.")

    plots(result)
    if summary.distillation:
        distillation.training(result)

    st.header("Where this comes from")
    st.html(provenance.provenance(result))
    if result.config is not None:
        folded.code("The same from the command line", provenance.command(result), "bash", "command")
    exports.citation(methods_of_result(result.details, result.verdict), bibtex(result.details))
    if summary.distillation:
        distillation.next_steps(result)


def measure_again(result: Result) -> None:
    """Offer to measure again what an older rule judged, and with more steps where the solver's own error exceeds half the interval."""
    from pages.forms.launch import form_link
    from pages.widgets import code as folded
    from pages.widgets import provenance
    from pfd_engine.configs.evaluate import EvaluateConfig
    from pfd_engine.findings.context import finer_steps

    steps, verdict = finer_steps(result.details), result.verdict
    older = verdict is not None and verdict.reason == "baseline not measured"
    if not isinstance(result.config, EvaluateConfig) or (steps is None and not older):
        return
    again = provenance.again(result, **({"steps": steps} if steps else {}))
    label = f"Measure again with {steps} steps" if steps else "Measure again"
    form, fields = form_link(again.model_dump(mode="json"))
    st.page_link(form, label=label, query_params=fields)
    if steps:  # without other steps it is the command below
        folded.code(f"{label} from the command line", again.command(), "bash", "finer-command")


def notes(result: Result) -> None:
    """Say in small print what the numbers mean and what limits them."""
    from pages.widgets import html as words
    from pages.widgets import result as results
    from pfd_engine.findings.context import footnotes
    from pfd_engine.findings.verdicts import said

    if meaning := results.definitions(result.summary):
        st.caption(meaning)
    if result.summary.descriptor != "pixel":
        name = words.markdown(result.summary.descriptor)
        st.caption(f"Compared by {name}: only with the pixel descriptor is PFD a metric; a distance of 0 here need not mean equal images.")
    else:
        st.caption(
            "Compared by pixels, in data units (images lie in [−1, 1]): with this descriptor PFD is a metric. The intervals are for these "
            "two models; they cover the choice of noises only."
        )
    told = said(result.verdict, result.details, is_twin=result.summary.is_twin)
    if small := ". ".join([*([told.paired] if told and told.paired else []), *footnotes(result.details)]):
        st.caption(words.markdown(f"{small[:1].upper()}{small[1:]}."))


def plots(result: Result) -> None:
    """Draw convergence and spread, and offer the numbers behind them."""
    import pandas as pd

    from pages.reads.cache import kept
    from pages.reads.findings import version
    from pages.widgets import html as words
    from pages.widgets.exports import exports
    from pfd_engine import figures
    from pfd_engine.analysis import convergence
    from pfd_engine.findings.verdicts import SPREADS, badge_of

    key = ("result", version(), result.summary.run_id)
    facts = {
        "run": result.summary.run_id,
        "teacher": result.summary.teacher,
        "descriptor": result.summary.descriptor,
        "num_noises": result.summary.num_noises,
        **result.baselines,
    }
    if marked := badge_of(result.verdict):
        facts["verdict"] = marked[0]
    if not result.distances:
        return
    unit = words.unit(result.summary.descriptor)
    shown = {metric: values for metric, values in result.distances.items() if metric in ("PFD", "E_mem")}
    estimates = {metric: number.value for metric, number in result.summary.numbers.items() if number.value is not None}
    note = result.summary.note[:1].upper() + result.summary.note[1:]
    left, right = st.columns(2, gap="medium")
    with left:
        st.header("Enough noises?")
        st.caption("The estimate from the first M noises, with its 95 % band.")
        drawn = kept(lambda: convergence(shown), *key, "convergence of")
        figure = kept(lambda: figures.convergence(drawn, unit, note), *key, "convergence")
        st.plotly_chart(figure, key="convergence", config=figures.CONFIG)
        exports(drawn, figure, f"{result.summary.run_id}-convergence", facts, "The estimate from the first M noises, with its 95 % band")
    with right:
        st.header("Spread over noises")
        st.caption("The distance of each noise; dashed: their root mean square.")
        figure = kept(lambda: figures.histogram(shown, estimates, unit, note), *key, "histogram")
        st.plotly_chart(figure, key="histogram", config=figures.CONFIG)
        names = {metric: "deviation" if metric in SPREADS else "distance" for metric in result.distances}
        squared = {f"{metric}_squared_{names[metric]}": values for metric, values in result.distances.items()}
        table = pd.DataFrame({"seed": result.seeds} | squared)
        title = "Squared distances, noise by noise"
        exports(table, figure, f"{result.summary.run_id}-distances", facts, title, "Download the per-noise distances (CSV)")


with page("Result"):
    show()
