"""The card of a bundle: front matter for the Hub's viewer, what was found, the numbers with their intervals, and how to open it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pfd_engine.findings.context import BASELINES, baselines
from pfd_engine.findings.verdicts import Judged, badge_of, is_diagnostic
from pfd_engine.sharing.bundle.format import FIGURES_FILE, TABLE_FILES, WALLS, Provenance

MOST_NUMBERS, MOST_RUNS, MOST_WALLS = 60, 50, 12
METRICS = ("PFD", "E_mem", "memorization_ratio")
NUMBERS_NOTE = (
    "Intervals are 95 %, over noises. Constant image: the distance of the best one to the teacher. Shuffled: both models' end points, "
    "paired at random. Retrained floor: the distance of a teacher retrained with another seed.\n"
)
Rows = Mapping[str, Sequence[Mapping[str, Any]]]


class Sweep(NamedTuple):
    """A sweep in a bundle: what it is called, and the sentence that its data show."""

    experiment: str
    name: str
    finding: str


def write_card(
    provenance: Provenance,
    tables: Rows,
    sweeps: Sequence[Sweep],
    walls: Sequence[str],
    repository: str | None,
    figures: bool,
    judged: Mapping[str, Judged],
) -> str:
    """Return README.md; `walls` are the runs that have a picture, `repository` is where the bundle goes, None for a folder alone, and
    `judged` are the evaluations with their verdicts, by run."""
    where = repository or "./this-folder"
    sections = [
        _front_matter(provenance, tables),
        "# Distilled diffusion models, judged by probability flow distance\n",
        "Teacher and student start from the same noise; probability flow distance (PFD) is how far apart they end. A small PFD to the "
        "teacher means that the student generalizes, a small distance to its own training set (E_mem) that it memorizes.\n",
        _findings(sweeps, figures),
        _numbers(tables, judged),
        "## Open it beside your own results\n",
        f"```bash\npython -m pfd_engine pull {where}\n```\n",
        "The app then shows these results with their source, never mixed with yours. The tables are ordinary Parquet files: "
        "`measurements` has one row a number, `runs` says how each came about, `noise_distances` has the squared distances.\n",
        _walls(walls),
        _models(tables),
        _commands(tables["runs"]),
        f"Written by pfd_engine {provenance.software_version}, commit {provenance.git_commit or 'not known'}; `provenance.json` has the "
        "configuration, versions and revisions of every run.\n",
    ]
    return "\n".join(section for section in sections if section)


def _front_matter(provenance: Provenance, tables: Rows) -> str:
    shown = [name for name in ("measurements", *(name for name in TABLE_FILES if name != "measurements")) if tables[name]]
    lines = ["---", f"license: {provenance.license}", "pretty_name: Probability flow distance of distilled diffusion models"]
    lines += ["tags:", "- diffusion", "- distillation", "- probability-flow-distance", "- pfd-results", "configs:"]
    for name in shown:
        default = ["  default: true"] if name == shown[0] else []
        lines += [f"- config_name: {name}", *default, "  data_files:", "  - split: results", f"    path: {TABLE_FILES[name]}"]
    return "\n".join([*lines, "---", ""])


def _findings(sweeps: Sequence[Sweep], figures: bool) -> str:
    told = [sweep for sweep in sweeps if sweep.finding]
    if not told:
        return ""
    lines = [f"- **{text(sweep.name)}** ({sweep.experiment}): {text(sweep.finding)}" for sweep in told]
    more = f"\nThe figures are in [`{FIGURES_FILE}`]({FIGURES_FILE}), which opens without a network.\n" if figures else ""
    return "## What the sweeps show\n\n" + "\n".join(lines) + "\n" + more


def _numbers(tables: Rows, judged: Mapping[str, Judged]) -> str:
    """Return a row for each evaluation, with the numbers that it has, and what they mean where a student loses the coupling."""
    uncoupled = _uncoupled(tables["runs"])
    found: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = {}
    for row in tables["measurements"]:
        if row["experiment"] == "evaluation" and row["band"] is None and row["metric"] in METRICS:
            key = tuple(row[name] for name in ("run_id", "student", "student_steps", "teacher", "num_noises", "descriptor"))
            found.setdefault(key, {})[row["metric"]] = row
    if not found:
        return ""
    heads = ["student", "own steps", "teacher", "noises", "descriptor", "PFD", "constant image", "shuffled", "retrained floor"]
    heads += ["E_mem", "memorization ratio", "verdict"]
    lines = ["## Numbers\n", NUMBERS_NOTE, _row(heads), _row(["---"] * len(heads))]
    for key in sorted(found, key=lambda key: [str(part or "") for part in key])[:MOST_NUMBERS]:
        run_id, student, steps, teacher, noises, descriptor = key
        mark = " †" if key[:3] in uncoupled else ""
        pfd, e_mem, ratio = (_with_interval(found[key].get(metric)) for metric in METRICS)
        of = [_code(student), f"{steps or '-'}", _code(teacher), f"{noises or 0:,}", text(descriptor or "pixel")]
        own = judged.get(run_id)
        is_main = own is not None and (_reference(own.details), own.details.get("student_steps")) == (student, steps)
        beside = _beside(found[key].get("PFD"), own if is_main else None)
        lines.append(_row([*of, pfd + mark, *beside, e_mem + mark, ratio, _verdict(own) if own is not None and is_main else "-"]))
    more = f"\n{len(found) - MOST_NUMBERS:,} more are in `measurements.parquet`.\n" if len(found) > MOST_NUMBERS else ""
    more += "".join(f"\n† {text(note)}.\n" for note in dict.fromkeys(uncoupled.values()))
    return "\n".join(lines) + "\n" + more


def _beside(row: Mapping[str, Any] | None, judged: Judged | None) -> list[str]:
    """Return the constant image, the ceiling and the retrained floor beside a PFD, a dash for what is not known."""
    known = {} if judged is None else baselines(judged.details, judged.distances)
    if row is not None:
        stated = {"constant_image": row.get("spread"), "shuffled_ceiling": row.get("shuffled")}
        known |= {name: value for name, value in stated.items() if value is not None}
    return ["-" if (value := known.get(name)) is None else f"{value:.4g}" for name in BASELINES]


def _verdict(judged: Judged) -> str:
    """Return the verdict in a word or two."""
    if is_diagnostic(judged.details):
        return "none (diagnostic map)"
    if judged.is_twin:
        return "none (retrained teacher)"
    badge = badge_of(judged.verdict)
    return "none" if badge is None else badge[0]


def _reference(details: Mapping[str, Any]) -> Any:
    student = details.get("student")
    return student.get("reference") if isinstance(student, Mapping) else None


def _uncoupled(runs: Sequence[Mapping[str, Any]]) -> dict[tuple[Any, ...], str]:
    """Return run, student and its own steps of each evaluation whose student does not keep the coupling, with the note on it."""
    found = {}
    for run in runs:
        result = result_of(run)
        main = {"student": (result.get("student") or {}).get("reference"), "student_steps": result.get("student_steps")}
        for row in [{**result, **main}, *((result.get("distillation") or {}).get("evaluations") or [])]:
            if row.get("coupling_note"):
                found[run["run_id"], row.get("student"), row.get("student_steps")] = str(row["coupling_note"])
    return found


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _walls(walls: Sequence[str]) -> str:
    if not walls:
        return ""
    pictures = [f"![Same-noise pairs of run {run_id}]({WALLS}/{run_id}.png)\n" for run_id in walls[:MOST_WALLS]]
    more = f"{len(walls) - MOST_WALLS:,} more are in `{WALLS}/`.\n" if len(walls) > MOST_WALLS else ""
    caption = "Each column starts from one noise, the nearest pair first: teacher, student and, where kept, the nearest training image.\n"
    return "\n".join(["## Same noise, both models\n", caption, *pictures, more])


def _models(tables: Rows) -> str:
    licenses = {row["reference"]: row["license"] for row in tables["checkpoints"]}
    if not licenses:
        return ""
    lines = [f"- {_code(name)}: {text(licenses[name] or 'license not stated')}" for name in sorted(licenses)[:MOST_RUNS]]
    note = "Images come from these models and fall under their licenses. Students have model repositories and cards of their own: "
    return "## Models\n\n" + note + "`python -m pfd_engine push` puts one there.\n\n" + "\n".join(lines) + "\n"


def _commands(runs: Sequence[Mapping[str, Any]]) -> str:
    commands = list(dict.fromkeys(row["command"] for row in runs if row["command"]))[:MOST_RUNS]
    fence = "````"  # no command of ours holds four backticks, and shlex quotes those of others
    return f"## Measure it again\n\n{fence}bash\n" + "\n".join(" ".join(c.split()) for c in commands) + f"\n{fence}\n" if commands else ""


def _with_interval(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "-"
    scale, unit = (100, " %") if row["metric"] == "memorization_ratio" else (1, "")
    value = f"{scale * row['value']:.4g}{unit}"
    if row["ci_low"] is None or row["ci_high"] is None:
        return value
    return f"{value} ({scale * row['ci_low']:.4g} to {scale * row['ci_high']:.4g})"


def _code(value: object) -> str:
    return f"`{str(value).replace('`', chr(39)).replace('|', '/')}`"


def text(value: object) -> str:
    """Write a text so that Markdown and HTML show it as it stands, on one line."""
    line = " ".join(str(value).split())
    return "".join(f"&#{ord(c)};" if c in "<>&" else f"\\{c}" if c in r"\`*_{}[]#|!~$" else c for c in line)


def result_of(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a row of `runs`, empty where it has none."""
    found = json.loads(run["result"]) if run["result"] else None
    return found if isinstance(found, dict) else {}
