"""A workspace as large as a group's: 5,000 runs and 1,000,000 numbers that look like measured ones, in well under a minute.

`python benchmarks/big_database.py HOME` fills an empty folder: run folders, and a database that says it has read them. The numbers are
computed (in DuckDB, with a fixed seed); only the shape of an evaluation's result is taken from the shipped results.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import duckdb
import pyarrow as pa
from PIL import Image

from pfd_engine.configs.evaluate import EvaluateConfig
from pfd_engine.configs.sweep import SweepConfig
from pfd_engine.models.networks.sizes import find_rung
from pfd_engine.store.database import OFFLINE, migrate
from pfd_engine.workspace import PUBLISHED_DATABASE, Workspace

RUNS, ROWS, ROWS_A_SWEEP = 5_000, 1_000_000, 2_840
NOISES, WITH_IMAGES = 256, 6  # the newest sweeps of each experiment keep their distances and images
NEWEST, HOUR = 1_790_000_000, 3600
TEACHERS = ("./pfd_engine/assets/digits-teacher", "google/ddpm-cifar10-32", "group/edm-faces", "group/edm2-small")
SIZES = ("mlp-32", "mlp-48", "mlp-64", "mlp-96", "mlp-128", "mlp-192")
N = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
OBJECTIVES = ("samples", "denoiser", "progressive", "consistency", "distribution-matching")
GRIDS: dict[str, dict[str, Any]] = {
    "scaling": {"sizes": SIZES, "num_samples": N, "seeds": range(6), "steps": 6000},
    "training-dynamics": {
        "sizes": ["mlp-64"], "num_samples": N[::2], "seeds": range(5), "steps": 11_000, "checkpoints": 11, "first_checkpoint": 100,
    },
    "bias-variance": {"sizes": SIZES, "num_samples": N[1:7], "seeds": range(9), "steps": 6000},
}  # fmt: skip
METRICS = ("E_gen", "E_mem", "E_emp", "memorization_ratio", "train_loss", "held_out_loss", "images_seen", "seconds")
# E_gen levels off above a floor; E_mem grows with N; they cross at N* ~ parameters^(1/2).
VALUES = """
    case metric when 'E_gen' then 1.2 + 2.6 / (1 + sqrt(num_samples / n_star)) when 'E_mem' then 3.1 / (1 + sqrt(n_star / num_samples))
    when 'E_emp' then 4.2 - 0.2 * ln(num_samples) when 'memorization_ratio' then 1 / (1 + num_samples / n_star)
    when 'seconds' then 0.002 * step when 'images_seen' then 128 * step when 'train_loss' then 0.08 + 0.5 / sqrt(step)
    when 'held_out_loss' then 0.1 + 0.6 / sqrt(step) else 1 + 2 / (1 + sqrt(num_samples / n_star)) end"""


def big_workspace(home: Path, runs: int = RUNS, rows: int = ROWS) -> dict[str, str]:
    """Fill an empty folder and return the newest run of `evaluation` and of each experiment."""
    workspace = Workspace(home)
    workspace.runs.mkdir(parents=True)
    connection = duckdb.connect(":memory:", config=OFFLINE)
    connection.execute("attach ? as workspace", [str(workspace.database)])
    migrate(connection, "workspace")
    connection.execute("set threads = 1")  # the same numbers every time
    connection.execute("select setseed(0.5)").fetchall()
    folders = list(_runs(workspace, runs, rows))
    _insert(connection, "runs", [{name: value for name, value in run.items() if name not in ("ingested", "experiment")} for run in folders])
    connection.executemany("insert into workspace.ingested values (?, ?, ?, 0)", [run["ingested"] for run in folders])
    _insert(connection, "measurements", [row for run in folders if run["kind"] == "evaluate" for row in _evaluation(run)])
    newest: dict[str, list[str]] = {}
    for run in reversed(folders):
        newest.setdefault(run["experiment"], []).append(run["run_id"])
    for experiment, grid in GRIDS.items():
        _sweeps(connection, experiment, grid, newest.get(experiment, [])[:WITH_IMAGES])
    _images(connection)
    connection.execute("checkpoint workspace")
    connection.close()
    return {experiment: ids[0] for experiment, ids in newest.items()}


def _runs(workspace: Workspace, runs: int, rows: int) -> Iterator[dict[str, Any]]:
    """Write the folders of all runs, the oldest first, and yield the row of each with its `experiment` and what was `ingested`."""
    with duckdb.connect(str(PUBLISHED_DATABASE), read_only=True, config=OFFLINE) as shipped:
        (template,) = shipped.execute("select result from runs where kind = 'evaluate' limit 1").fetchall()
    rng, sweeps, experiments = random.Random(0), rows // ROWS_A_SWEEP, list(GRIDS)
    for number in range(runs):
        created = NEWEST - HOUR * (runs - number)
        teacher = TEACHERS[number % 7 % len(TEACHERS)]
        config: EvaluateConfig | SweepConfig
        if (number + 1) * sweeps // runs > number * sweeps // runs:
            experiment = experiments[number * sweeps // runs % len(experiments)]
            config = SweepConfig.parse({
                **GRIDS[experiment], "seeds": list(GRIDS[experiment]["seeds"]), "name": f"{experiment}-{number % 5}",
                "teacher": teacher, "experiment": experiment, "evaluation": {"num_noises": NOISES},
            })  # fmt: skip
            result: dict[str, Any] = {"experiment": experiment, "name": config.name, "failed": {}, "diverged": [], "seconds": 600.0}
        else:
            experiment = "evaluation"
            config = EvaluateConfig.parse({"teacher": teacher, "student": f"group/student-{number}"})
            result = _result(json.loads(template[0]), teacher, f"group/student-{number}", rng)
        run_id = f"{config.kind}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(created))}-{number:08x}"
        state = "failed" if number % 41 == 7 else "finished"
        ended = {"created": float(created), "started": created + 1.0, "finished": created + 1 + result["seconds"], "attempt": 1}
        row = {
            "run_id": run_id,
            "kind": config.kind,
            "state": state,
            "teacher": teacher,
            "student": getattr(config, "student", None),
            **ended,
        }
        told = json.dumps(result | {"run_id": run_id}, sort_keys=True) if state == "finished" else None
        row |= {"seconds": result["seconds"], "device": "cpu", "command": config.command(), "config": config.canonical, "result": told}
        folder = workspace.runs / run_id
        folder.mkdir()
        (folder / "config.json").write_text(config.canonical)
        (folder / "status.json").write_text(json.dumps({"state": state, "exit_code": 0, **ended}))
        offset = (folder / "events.jsonl").write_text(f'{{"type": "result", "result": {told}}}\n' if told else "{}\n")
        stat = (folder / "status.json").stat()
        stamp = f"{stat.st_mtime_ns}-{stat.st_ino}-{stat.st_size}"
        yield row | {"experiment": experiment, "ingested": (run_id, offset, stamp)}


def _result(template: dict[str, Any], teacher: str, student: str, rng: random.Random) -> dict[str, Any]:
    value, memory = 1.2 + 2.5 * rng.random(), 1 + 2 * rng.random()
    sides = {
        role: template[role] | {"reference": reference, "parameters": round(10 ** rng.uniform(4, 7)) if role == "student" else 10**7}
        for role, reference in (("teacher", teacher), ("student", student))
    }
    memorization = {"e_mem": memory, "ci_low": memory - 0.05, "ci_high": memory + 0.05, "num_samples": rng.choice(N)}
    interval = {"value": value, "stderr": 0.025, "ci_low": value - 0.05, "ci_high": value + 0.05}
    return template | sides | interval | {"memorization": template["memorization"] | memorization, "seconds": 5.0}


def _evaluation(run: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the four numbers of an evaluation."""
    if run["result"] is None:
        return
    result = json.loads(run["result"])
    memorization, student = result["memorization"], result["student"]
    number = int(run["run_id"][-8:], 16)
    row = {
        "experiment": "evaluation", "run_id": run["run_id"], "teacher": run["teacher"], "teacher_revision": "a" * 40,
        "student": run["student"],
        "student_revision": "b" * 40, "family": ("mlp", "vp", "edm")[number % 3], "size": SIZES[number % len(SIZES)],
        "parameters": student["parameters"], "objective": OBJECTIVES[number % len(OBJECTIVES)], "training_set": f"digits {number % 9}",
        "num_samples": memorization["num_samples"], "student_seed": number % 3, "noise_seed": 0, "num_noises": 1024,
        "descriptor": "sscd" if number % 10 == 0 else "pixel", "solver": "heun", "solver_steps": 18, "sigma_min": 0.002, "sigma_max": 80.0,
        "step": 6000, "student_steps": (None, 1, 2, 4)[number % 4], "shuffled": 6.0, "stderr": 0.025,
    }  # fmt: skip
    metrics = {
        "PFD": result["value"],
        "E_mem": memorization["e_mem"],
        "E_emp": 3.0,
        "memorization_ratio": 1 / (1 + math.sqrt(memorization["num_samples"])),
    }
    for metric, value in metrics.items():
        yield row | {"metric": metric, "value": value, "ci_low": value - 0.05, "ci_high": value + 0.05}


def _sweeps(connection: duckdb.DuckDBPyConnection, experiment: str, grid: dict[str, Any], with_images: list[str]) -> None:
    """Compute the numbers of all finished sweeps of an experiment; the newest also have distances, losses and pairs of images."""
    lists = {name: list(grid[name]) for name in ("sizes", "num_samples", "seeds")}
    count = grid.get("checkpoints", 1)
    lists["steps"] = [grid["steps"] if count == 1 else round(100 * (grid["steps"] / 100) ** (k / (count - 1))) for k in range(count)]
    lists["parameters"] = [find_rung(size).parameters for size in grid["sizes"]]
    connection.execute(
        "create or replace temp table student as select run_id, teacher, size, parameters, num_samples, student_seed, step, "
        "concat(size, ' N=', num_samples, ' seed ', student_seed) as student, "
        "64 * sqrt(parameters / 30000) as n_star, case when ? and num_samples < 100 then 0.15 * ln(step / 100) else 0 end as overfit "
        "from workspace.runs, (select unnest(?::varchar[]) as size, unnest(?::bigint[]) as parameters), "
        "(select unnest(?::bigint[]) as num_samples), (select unnest(?::bigint[]) as student_seed), (select unnest(?::bigint[]) as step) "
        "where state = 'finished' and json_extract_string(config, '$.experiment') = ?",
        [
            experiment == "training-dynamics",
            *(lists[name] for name in ("sizes", "parameters", "num_samples", "seeds", "steps")),
            experiment,
        ],
    )
    bands = [[metric, None] for metric in METRICS]
    bands += [["E_gen2", band] for band in ("pc 1-4", "pc 5-16", "pc 17-64")] if experiment == "training-dynamics" else []
    _numbers(connection, experiment, "student", bands)
    if experiment == "bias-variance":
        connection.execute(
            "create or replace temp table whole as select distinct on (run_id, size, num_samples) * replace "
            "(null::bigint as student_seed, concat(size, ' N=', num_samples, ' all') as student) from student"
        )
        _numbers(connection, experiment, "whole", [["bias2", None], ["variance", None], ["E_gen2", None]])
    newest = "from student where list_contains(?::varchar[], run_id)"
    connection.execute(
        "insert into workspace.noise_distances by name select concat(run_id, metric, student, step) as key, *, 0 as seeds_start, "
        f"{NOISES} as seeds_stop, list_transform(range({NOISES}), lambda i: (1.5 + hash(i, student, metric) % 1000 / 1000) ** 2) as values "
        "from (select run_id, student, student_seed, num_samples, size, step, unnest(['E_gen', 'E_mem']) as metric " + newest + ")",
        [with_images],
    )
    connection.execute(
        "insert into workspace.training_curves by name select concat(run_id, student, step, metric) as key, *, 1 / sqrt(step) as value "
        "from (select run_id, student, student_seed, step, unnest(['train_loss', 'held_out_loss']) as metric " + newest + ")",
        [with_images],
    )
    connection.execute(
        "insert into workspace.pairs by name select concat_ws('/', run_id, student, step, rank) as key, *, 1.0 + rank as distance, "
        "rank as seed, 'nearest' as \"group\", ?::blob as teacher_png, ?::blob as student_png, ?::blob as nearest_png from "
        "(select run_id, student, step, unnest(range(2)) as rank " + newest + ")",
        [*(_png(shade) for shade in (40, 90, 140)), with_images],
    )


def _numbers(connection: duckdb.DuckDBPyConnection, experiment: str, students: str, metrics: list[list[str | None]]) -> None:
    connection.execute(
        "insert into workspace.measurements by name select concat(run_id, student, step, metric, band) as key, "
        "* exclude (n_star, overfit), value - 0.1 as ci_low, value + 0.1 as ci_high, 0.05 as stderr from (select *, "
        f"({VALUES} + overfit) * (0.97 + 0.06 * random()) as value, 'pixel' as descriptor, 'heun' as solver, 18 as solver_steps, "
        f"0.002 as sigma_min, 80.0 as sigma_max, 0 as noise_seed, {NOISES} as num_noises, 'mlp' as family, 'samples' as objective, "
        f"'{experiment}' as experiment, concat('digits N=', num_samples) as training_set, repeat('a', 40) as teacher_revision "
        f"from {students}, (select unnest(?::varchar[]) as metric, unnest(?::varchar[]) as band))",
        [[metric for metric, _ in metrics], [band for _, band in metrics]],
    )


def _images(connection: duckdb.DuckDBPyConnection) -> None:
    """Give every evaluation a pair of images and its distances by noise."""
    of_evaluations = "from workspace.runs where kind = 'evaluate' and state = 'finished'"
    connection.execute(
        "insert into workspace.pairs by name select concat(run_id, rank) as key, *, 0.5 + rank as distance, rank as seed, "
        "case when rank < 3 then 'nearest' when rank < 6 then 'median' else 'farthest' end as \"group\", ?::blob as teacher_png, "
        "?::blob as student_png, ?::blob as nearest_png from (select run_id, unnest(range(9)) as rank " + of_evaluations + ")",
        [_png(shade) for shade in (40, 90, 140)],
    )
    connection.execute(
        "insert into workspace.noise_distances by name select concat(run_id, metric) as key, *, 0 as seeds_start, "
        f"{NOISES} as seeds_stop, list_transform(range({NOISES}), lambda i: (1.5 + hash(i, run_id, metric) % 1000 / 1000) ** 2) as values "
        "from (select run_id, unnest(['PFD', 'E_mem']) as metric " + of_evaluations + ")"
    )


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    names = dict.fromkeys(name for row in rows for name in row)
    incoming = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
    connection.register("incoming", incoming)
    connection.execute(f"insert into workspace.{table} by name select uuid()::varchar as key, * from incoming")
    connection.unregister("incoming")


def _png(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((8, 8)).point(lambda value: (value + shade) % 256).save(stream, "PNG")
    return stream.getvalue()


def main() -> int:
    """Fill the folder that the command line names, and say what it holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--rows", type=int, default=ROWS)
    options = parser.parse_args()
    start = time.perf_counter()
    newest = big_workspace(options.home, options.runs, options.rows)
    with duckdb.connect(str(Workspace(options.home).database), read_only=True, config=OFFLINE) as connection:
        counts = connection.execute("select (select count(*) from runs), (select count(*) from measurements)").fetchone()
    print("{:,} runs, {:,} numbers".format(*(counts or ())), f"in {time.perf_counter() - start:.0f} s; the newest: {newest}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
