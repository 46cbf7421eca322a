"""What the tables of the results mean, column by column, and queries to start from: what the SQL page and its readers go by."""

from __future__ import annotations

from pfd_engine.store.schema import TABLES

SOURCE = "where the row comes from: 'workspace' (measured here), 'published' (shipped), or 'hub:' and 'folder:' (pulled from others)"
RUN_ID = "the run that it belongs to"
STUDENT_SEED = "seed of the student's own training"
SAMPLES = "N, number of training samples of the student"

MEANINGS: dict[str, str] = {
    "measurements": "one row a measured number, with everything that identifies it",
    "runs": "one row a run: an evaluation, a distillation, or a sweep of many students",
    "checkpoints": "one row a model that was read: teachers and students",
    "training_sets": "one row a set of samples that students were trained on",
    "noise_distances": "the distances behind a number, one list a block of noises",
    "training_curves": "losses during training",
    "pairs": "which noises were kept as images (the images themselves are not here)",
}
COLUMNS: dict[str, dict[str, str]] = {
    "measurements": {
        "experiment": "evaluation, scaling, training-dynamics or bias-variance",
        "run_id": RUN_ID,
        "teacher": "reference of the teacher: a folder, or a repository on the Hub",
        "teacher_revision": "commit or hash of the teacher's files",
        "student": "reference of the student, or its name within a sweep",
        "student_revision": "commit or hash of the student's files",
        "family": "kind of the student's network",
        "size": "rung of the ladder of sizes, as mlp-64",
        "parameters": "number of parameters of the student",
        "objective": "what the student was distilled by",
        "training_set": "name of the student's training set",
        "num_samples": SAMPLES,
        "student_seed": STUDENT_SEED,
        "step": "training step of the student",
        "student_steps": "steps that a few-step student takes; NULL: it is integrated by the solver",
        "metric": "PFD, E_gen, E_mem, E_emp, bias2, variance, E_gen2, memorization_ratio, train_loss, held_out_loss, ...",
        "band": "part of the spectrum that it was measured on; NULL: all",
        "noise_seed": "first seed of the noises",
        "num_noises": "M, number of noises",
        "descriptor": "space in which end points are compared",
        "descriptor_sha256": "hash of the descriptor's weights",
        "solver": "solver of the probability flow ODE",
        "solver_steps": "steps of the solver",
        "sigma_min": "smallest noise level",
        "sigma_max": "largest noise level",
        "value": "the number",
        "stderr": "its standard error over the noises; NULL: none was estimated",
        "ci_low": "lower end of its 95 % interval",
        "ci_high": "upper end of its 95 % interval",
        "shuffled": "the same distance with noises paired at random: what two models without a common coupling would have",
        "rho": "how the solver's grid is spaced (7: EDM's); NULL: measured before version 4",
        "outside_range": "whose denoiser acts outside the trained noise levels: student or, in a diagnostic map, teacher; NULL: student",
        "conditions": "the conditions that noises were mapped under; NULL: unconditional",
        "teacher_guidance": "guidance of the teacher; NULL: none",
        "student_guidance": "guidance of the student; NULL: none",
        "spread": "distance of the best constant image to the teacher (E_mem: to the map of the training set); no constant image is closer",
        "solver_error": "the solver's part of the value: signed where it could be extrapolated, else a bound above 0; NULL: not measured",
        "tail_share": "share of the sum of squared distances that the largest 1 % of the noises hold; above 0.2 the interval is marked",
        "covers": "what the interval covers: noises, or students and noises",
    },
    "runs": {
        "run_id": "name of the run",
        "kind": "evaluate, distill or sweep",
        "state": "queued, running, finished, failed or cancelled",
        "teacher": "reference of the teacher",
        "student": "reference of the student; NULL for sweeps",
        "created": "when it was asked for, unix seconds (UTC)",
        "started": "when its latest attempt started, unix seconds",
        "finished": "when it ended, unix seconds",
        "seconds": "how long it took",
        "attempt": "how often it was started",
        "exit_code": "0 finished, 1 failed, 130 cancelled",
        "message": "why it failed",
        "device": "what it ran on",
        "git_commit": "version of the program",
        "versions": "versions of its packages (JSON)",
        "command": "the command line that repeats it",
        "config": "its settings (JSON)",
        "result": "its result in full (JSON)",
    },
    "checkpoints": {
        "reference": "a folder, or a repository on the Hub",
        "revision": "commit or hash of its files",
        "role": "teacher or student",
        "family": "kind of network",
        "weights": "which of its weights were used, as ema",
        "shape": "shape of one sample (JSON)",
        "parameters": "number of parameters",
        "sigma_min": "smallest noise level",
        "sigma_max": "largest noise level",
        "license": "license that it names",
        "metadata": "what else its files say (JSON)",
        "run_id": "a run that read it",
    },
    "training_sets": {
        "name": "name of the set",
        "content_hash": "hash of its samples",
        "num_samples": "N, number of samples",
        "shape": "shape of one sample (JSON)",
        "seed_start": "first seed of its noises, where the teacher made it",
        "seed_stop": "the seed after its last",
        "run_id": "a run that used it",
    },
    "noise_distances": {
        "run_id": RUN_ID,
        "metric": "PFD, E_gen, E_mem or E_emp; spread and E_emp_spread: from the mean end point of the teacher and the empirical map",
        "seeds_start": "first seed of the block",
        "seeds_stop": "the seed after its last",
        "values": "squared distance of each noise, in the order of the seeds",
        "student": "the student within a sweep",
        "student_seed": STUDENT_SEED,
        "num_samples": SAMPLES,
        "size": "rung of the ladder of sizes",
        "step": "training step of the student",
        "outside_range": "student or teacher, as in measurements",
    },
    "training_curves": {
        "run_id": RUN_ID,
        "student": "the student within a sweep",
        "student_seed": STUDENT_SEED,
        "metric": "train_loss or held_out_loss",
        "step": "training step",
        "value": "the loss",
    },
    "pairs": {
        "run_id": RUN_ID,
        "group": "nearest, median or farthest",
        "rank": "position within the group, from 0",
        "seed": "seed of the noise",
        "distance": "distance of the two end points",
        "student": "the student within a sweep",
        "step": "training step of the student",
    },
}  # fmt: skip

EXAMPLES: dict[str, str] = {
    "Latest evaluations": """SELECT run_id, student, student_steps, outside_range, num_samples AS N, metric, value, ci_low, ci_high, spread
FROM measurements
WHERE experiment = 'evaluation' AND metric IN ('PFD', 'E_mem')
ORDER BY run_id DESC, student, student_steps, metric
LIMIT 100""",
    "Scaling in N": """SELECT size, num_samples AS N, metric, avg(value) AS mean,
  stddev_samp(value) / sqrt(count(*)) AS standard_error, count(*) AS students
FROM measurements
WHERE experiment = 'scaling' AND metric IN ('E_gen', 'E_mem') AND outside_range IS DISTINCT FROM 'teacher'
GROUP BY ALL
ORDER BY max(parameters), N, metric""",
    "Smallest N that generalizes": """SELECT size, max(parameters) AS parameters, min(N) AS smallest_N
FROM (
  SELECT size, parameters, num_samples AS N,
    avg(value) FILTER (metric = 'E_gen') AS e_gen, avg(value) FILTER (metric = 'E_mem') AS e_mem
  FROM measurements WHERE experiment = 'scaling' AND outside_range IS DISTINCT FROM 'teacher' GROUP BY ALL
)
WHERE e_gen < e_mem
GROUP BY size
ORDER BY parameters""",
    "Best training step": """SELECT run_id, num_samples AS N, arg_min(step, mean) AS best_step, min(mean) AS best_E_gen,
  arg_max(mean, step) AS last_E_gen
FROM (
  SELECT run_id, num_samples, step, avg(value) AS mean
  FROM measurements
  WHERE experiment = 'training-dynamics' AND metric = 'E_gen' AND outside_range IS DISTINCT FROM 'teacher'
  GROUP BY ALL
)
GROUP BY ALL
ORDER BY run_id, N""",
    "Bias and variance": """SELECT run_id, size, num_samples AS N, max(value) FILTER (metric = 'bias2') AS bias2,
  max(value) FILTER (metric = 'variance') AS variance, max(value) FILTER (metric = 'E_gen2') AS e_gen2
FROM measurements
WHERE experiment = 'bias-variance' AND metric IN ('bias2', 'variance', 'E_gen2') AND outside_range IS DISTINCT FROM 'teacher'
GROUP BY ALL
ORDER BY run_id, max(parameters), N""",
    "Worst noises": """SELECT run_id, student, step, seeds_start, sqrt(list_median("values")) AS median,
  sqrt(list_max("values")) AS worst, seeds_start + list_position("values", list_max("values")) - 1 AS worst_seed
FROM noise_distances
WHERE metric IN ('PFD', 'E_gen') AND outside_range IS DISTINCT FROM 'teacher'
ORDER BY worst DESC
LIMIT 50""",
}


def schema() -> dict[str, list[tuple[str, str, str]]]:
    """Return, for each table in the order in which it is useful, name, type and meaning of its columns; bytes of images are left out."""
    found = {}
    for table in MEANINGS:
        kinds = {name: kind.replace("JSON", "VARCHAR") for name, kind in TABLES[table].columns.items()} | {"source": "VARCHAR"}
        found[table] = [(name, kinds[name], meaning) for name, meaning in (COLUMNS[table] | {"source": SOURCE}).items()]
    return found
