"""What a sweep costs before it starts: exact counts, seconds that were measured, and what the command line says of both."""

from pathlib import Path
from typing import Any

import pytest

from pfd_engine.cli.main import main
from pfd_engine.configs.sweep import SweepConfig
from pfd_engine.configs.sweep_files import load_spec, spec_text
from pfd_engine.distill.objectives import OBJECTIVES
from pfd_engine.errors import InputError
from pfd_engine.models.networks.sizes import find_rung
from pfd_engine.planning.distillation import flops_per_call, step_seconds
from pfd_engine.planning.evaluation import Model
from pfd_engine.planning.sweep import check_memory, describe, estimate
from pfd_engine.runs.folder import list_runs
from pfd_engine.workspace import Workspace

SHAPE, TEACHER = (1, 8, 8), Model(1_662_016, (1, 8, 8), "mlp")
MEASURED = {32: 0.4e-3, 64: 0.65e-3, 96: 1.05e-3, 128: 1.6e-3, 192: 3e-3, 256: 5e-3, 384: 10e-3}  # seconds, one core, batch of 128


def config(**changes: Any) -> SweepConfig:
    given = {"experiment": "scaling", "name": "tiny", "teacher": "./t", "sizes": ["mlp-32", "mlp-64"], "num_samples": [16, 64]}
    return SweepConfig.parse(given | {"seeds": [0, 1, 2], "steps": 1000, "device": "cpu"} | changes)


def test_counts_are_exact() -> None:
    cost = estimate(config(), SHAPE, TEACHER, 2)
    assert (cost.students, cost.groups, cost.processes) == (12, 2, 2)
    assert cost.parameters == {"mlp-32": 11_776, "mlp-64": 35_776}
    assert cost.training_steps == 12_000
    assert cost.training_set_calls == 3 * 64 * 35
    assert cost.measuring_calls == (1024 + 2048) * 35 + 256 * (71 + 143)  # those with 36 and 72 steps find the solver error
    auto = {"evaluation": {"steps": "auto"}}
    assert estimate(config(**auto), SHAPE, TEACHER, 2) == cost
    assert estimate(config(sets="disjoint"), SHAPE, TEACHER, 2).training_set_calls == 3 * (16 + 64) * 35


@pytest.mark.parametrize("width", MEASURED)
def test_a_step_of_students_that_train_together_takes_about_what_was_measured(width: int) -> None:
    flops = flops_per_call(find_rung(f"mlp-{width}"), SHAPE)
    found = step_seconds(OBJECTIVES["samples"], flops, TEACHER.flops_per_call, 128, "cpu", together=True)
    assert found == pytest.approx(MEASURED[width], rel=0.2)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 2000}, {"sizes": ["mlp-32", "mlp-64", "mlp-96"]}, {"num_samples": [16, 64, 256]}, {"seeds": [0, 1, 2, 3]},
        {"together": False}, {"checkpoints": 10}, {"evaluation": {"num_noises": 8192}}, {"training": {"batch_size": 512}},
        {"diagnostic_map": True}, {"evaluation": {"steps": 36}},
    ],
)  # fmt: skip
def test_more_of_anything_takes_longer(change: dict[str, Any]) -> None:
    assert estimate(config(**change), SHAPE, TEACHER, 1).seconds > estimate(config(), SHAPE, TEACHER, 1).seconds


def test_more_processes_take_less_time_and_more_memory_until_there_are_as_many_as_groups() -> None:
    one, two, many = (estimate(config(), SHAPE, TEACHER, processes) for processes in (1, 2, 64))
    assert one.seconds > two.seconds == many.seconds
    assert one.memory_bytes < two.memory_bytes == many.memory_bytes


def test_students_that_train_one_by_one_share_the_memory_of_their_activations() -> None:
    images = Model(1_000_000, (3, 32, 32), "unet")
    alone = config(sizes=["unet-64"], together=False, num_samples=[16], seeds=list(range(9)))
    needed = estimate(alone, (3, 32, 32), images, 1).memory_bytes
    assert find_rung("unet-64").training_bytes((3, 32, 32), 128) < needed < 3 * find_rung("unet-64").training_bytes((3, 32, 32), 128)


def test_what_does_not_fit_is_refused_with_the_size_at_fault() -> None:
    check_memory(config(), SHAPE, TEACHER, 2, 2**40, "cpu")
    with pytest.raises(InputError, match=r"^size mlp-64 in groups of 9 needs about .* free on cpu: choose smaller sizes") as caught:
        check_memory(config(), SHAPE, TEACHER, 2, 2**20, "cpu")
    assert caught.value.field == "sizes"
    with pytest.raises(InputError, match="16x16"):
        estimate(config(), (3, 32, 32), TEACHER, 1)


def test_the_bundled_specs_take_at_most_two_hours_on_two_cores() -> None:
    for name in ("scaling", "training-dynamics", "bias-variance"):
        assert 60 < estimate(load_spec(name), SHAPE, TEACHER, 2).seconds < 7200, name


def test_one_line_says_it_all() -> None:
    line = describe(estimate(config(), SHAPE, TEACHER, 2))
    assert line.startswith("12 students of 11,776 to 35,776 parameters in 2 groups, 2 at once; 12,000 training steps; ")
    assert "\n" not in line


def test_a_dry_run_prints_cost_and_students_and_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = config(teacher=load_spec("scaling").teacher)
    (tmp_path / "spec.toml").write_text(spec_text(made))
    assert main(["sweep", str(tmp_path / "spec.toml"), "--dry-run"]) == 0
    answer = capsys.readouterr()
    assert answer.err.startswith("12 students of")
    header, *lines = answer.out.splitlines()
    assert header.split() == ["group", "size", "parameters", "N", "seed", "first", "noise", "last", "noise"]
    assert len(lines) == 12
    assert lines[0].split() == ["mlp-64-0", "mlp-64", "35776", "16", "0", "1073741824", "1073741839"]
    assert list_runs(Workspace.from_environment()) == []
