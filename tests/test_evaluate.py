"""Evaluations of the bundled digits, from configuration to events."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from pfd_engine import EvaluateConfig, InputError, load_denoiser, probability_flow_distance
from pfd_engine.cli.output import describe_result
from pfd_engine.errors import Cancelled
from pfd_engine.evaluation.image_pairs import chosen_ranks
from pfd_engine.evaluation.prepare import prepare
from pfd_engine.measure.solver_error import RUNGS
from pfd_engine.models.bundled import bundled_references, floor_reference
from pfd_engine.workspace import Workspace

REFERENCES = bundled_references()


def words(text):
    return set(text.split())


MEASUREMENT_COLUMNS = words(
    "experiment teacher student family size parameters objective training_set num_samples student_seed step student_steps metric band "
    "value stderr ci_low ci_high noise_seed num_noises descriptor solver solver_steps sigma_min sigma_max rho "
    "outside_range covers"
)
RESULT_KEYS = words(
    "value stderr ci_low ci_high shuffled rms_per_coordinate num_noises noise_seed descriptor solver steps student_steps sigma_min "
    "sigma_max network_calls discretization_error teacher student memorization spread solver_error tail_share verdict seconds run_id"
)


def config(student=REFERENCES.student_memorizes, **changes):
    return EvaluateConfig.parse({"teacher": REFERENCES.teacher, "student": student, "num_noises": 128} | changes)


def evaluate(workspace, **changes):
    return list(prepare(config(**changes), workspace).run("run"))


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "workspace")


def of_type(events, kind):
    return [event for event in events if event["type"] == kind]


def test_one_evaluation_answers_how_far_and_whether_it_memorizes(workspace):
    events = evaluate(workspace)
    assert events == json.loads(json.dumps(events, allow_nan=False))
    result = events[-1]["result"]
    assert result.keys() >= RESULT_KEYS
    assert result["network_calls"] == {"teacher": 35, "student": 35}
    assert result["student"].keys() >= {"reference", "revision", "parameters", "family"}
    assert result["memorization"].keys() >= {"e_mem", "stderr", "ci_low", "ci_high", "memorization_ratio", "num_samples"}
    assert result["memorization"]["num_samples"] == 64
    assert result["memorization"]["e_mem"] < result["value"]  # nearer to its training set than to its teacher
    assert result["value"] < result["shuffled"]
    rows = of_type(events, "measurement")
    assert [row["metric"] for row in rows] == ["PFD", "E_mem", "E_emp", "memorization_ratio"]
    assert all(row.keys() >= MEASUREMENT_COLUMNS for row in rows)
    assert all(row.keys() >= words("shuffled spread solver_error tail_share") for row in rows[:3])
    assert rows[0]["value"] == result["value"]
    assert [event["role"] for event in of_type(events, "checkpoint")] == ["teacher", "student"]


def test_result_is_the_python_surfaces_number(workspace):
    result = evaluate(workspace, student=REFERENCES.student_generalizes)[-1]["result"]
    direct = probability_flow_distance(load_denoiser(REFERENCES.teacher), load_denoiser(REFERENCES.student_generalizes), num_noises=128)
    assert (result["value"], result["ci_low"], result["shuffled"]) == (direct.value, direct.ci_low, direct.shuffled)
    assert result["discretization_error"] == direct.discretization_error


def test_stored_distances_are_the_squares_whose_mean_is_the_result(workspace):
    events = evaluate(workspace, num_noises=300)
    blocks = [event for event in of_type(events, "distances") if event["metric"] == "PFD"]
    assert [(block["seeds_start"], block["seeds_stop"]) for block in blocks] == [(0, 256), (256, 300)]
    values = np.concatenate([block["values"] for block in blocks])
    assert np.sqrt(values.mean()) == events[-1]["result"]["value"]


def test_running_again_gives_the_same_bits(workspace):
    def told(events):
        return [event for event in events if event["type"] in ("distances", "measurement", "pair")]

    first = told(evaluate(workspace))
    assert told(evaluate(workspace)) == first
    shutil.rmtree(workspace.cache)
    assert told(evaluate(workspace)) == first


def test_network_calls_made_are_those_that_the_cache_did_not_save(workspace):
    first = evaluate(workspace)[-1]["result"]
    assert first["network_calls_made"] == dict.fromkeys(("teacher", "student"), 128 * 35 + 32 * (71 + 143))
    again = evaluate(workspace)[-1]["result"]
    assert again["network_calls_made"] == {"teacher": 0, "student": 0}
    other = evaluate(workspace, student=REFERENCES.student_generalizes)[-1]["result"]
    assert other["network_calls_made"] == {"teacher": 0, "student": 128 * 35 + 32 * (71 + 143)}


def test_solver_error_beyond_the_interval_is_said(workspace):
    result = evaluate(workspace, student=REFERENCES.student_generalizes, solver="euler", steps=3)[-1]["result"]
    assert abs(result["solver_error"]) > (result["ci_high"] - result["ci_low"]) / 2
    assert "measure again with 18 steps" in result["warnings"][0]
    assert not any("solver" in warning for warning in evaluate(workspace, steps=72)[-1]["result"]["warnings"])


def test_few_noises_that_carry_the_sum_and_a_single_sample_are_said(workspace, tmp_path):
    save_file({"samples": torch.full((3, 1, 8, 8), 0.5)}, tmp_path / "samples.safetensors")
    result = evaluate(workspace, num_noises=5, training_set=str(tmp_path))[-1]["result"]
    few, uneven, *_, duplicates = result["warnings"]
    assert few.startswith("5 noises are few")
    assert uneven.startswith(f"the largest distance makes up {100 * result['tail_share']:.0f} % of the sum behind PFD")
    assert duplicates == "the training set holds 1 different sample among 3: duplicates are counted once"
    assert "happens for fewer than 45 % of all noises (95 % confidence)" in describe_result(result)


def test_wall_shows_nearest_median_and_farthest_pairs_in_order(workspace):
    events = evaluate(workspace)
    pairs = of_type(events, "pair")
    assert [pair["group"] for pair in pairs] == ["nearest"] * 8 + ["median"] * 8 + ["farthest"] * 8 + ["first"] * 16
    distances = np.sqrt(np.concatenate([e["values"] for e in of_type(events, "distances") if e["metric"] == "PFD"]))
    assert [pair["distance"] for pair in pairs] == [np.sort(distances)[pair["rank"]] for pair in pairs]
    assert all(distances[pair["seed"]] == pair["distance"] for pair in pairs)
    picture = Image.open(io.BytesIO(base64.b64decode(pairs[0]["teacher_png"])))
    assert (picture.size, picture.mode) == ((8, 8), "L")
    memorized = [pair for pair in pairs if pair["student_png"] == pair["nearest_png"]]
    assert pairs[0]["nearest_png"] is not None
    assert len({pair["seed"] for pair in pairs[:24]}) == 24
    assert len(memorized) < 24


def test_the_first_noises_are_kept_for_every_student_with_the_empirical_maps_images(workspace):
    events = evaluate(workspace)
    first = [pair for pair in of_type(events, "pair") if pair["group"] == "first"]
    distances = np.sqrt(np.concatenate([e["values"] for e in of_type(events, "distances") if e["metric"] == "PFD"]))
    assert [pair["seed"] for pair in first] == list(range(16))
    assert [pair["distance"] for pair in first] == distances[:16].tolist()
    assert [pair["rank"] for pair in first] == [int((distances < distances[seed]).sum()) for seed in range(16)]
    other = [pair for pair in of_type(evaluate(workspace, student=REFERENCES.student_generalizes), "pair") if pair["group"] == "first"]
    assert [pair["teacher_png"] for pair in first] == [pair["teacher_png"] for pair in other]
    copies = sum(pair["empirical_png"] == pair["nearest_png"] for pair in first)
    assert copies > 8, "the empirical map ends at training images, and this student is near them"
    assert all(pair["empirical_png"] is None for pair in of_type(events, "pair") if pair["group"] != "first")


def test_a_training_set_that_only_the_student_names_is_no_obstacle(workspace, tmp_path):
    """A student compared with another teacher than its own: its training set cannot be drawn again, and the rest still stands."""
    shutil.copytree(REFERENCES.student_memorizes, tmp_path / "student")
    other_teacher = REFERENCES.student_generalizes
    events = evaluate(workspace, teacher=other_teacher, student=str(tmp_path / "student"))
    assert events[-1]["result"]["memorization"] is None
    assert "E_mem is left out" in of_type(events, "warning")[0]["message"]
    assert events[-1]["result"]["warnings"] == [event["message"] for event in of_type(events, "warning")]
    with pytest.raises(InputError):
        prepare(config(teacher=other_teacher, training_set=str(tmp_path / "student")), workspace)


def edited(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_noises_used_twice_are_refused_whoever_names_the_training_set(workspace, tmp_path):
    shutil.copytree(REFERENCES.student_memorizes, tmp_path / "student")
    edited(tmp_path / "student", "training_set.json", seed_start=100, seed_stop=164)
    with pytest.raises(InputError, match="trained on noises 100 to 127") as caught:
        prepare(config(student=str(tmp_path / "student")), workspace)
    assert caught.value.field == "seed"


def test_what_a_strangers_metadata_claims_costs_no_row(workspace, tmp_path):
    shutil.copytree(REFERENCES.student_memorizes, tmp_path / "student")
    claims = {"size": {"a": 1}, "num_samples": -3, "student_seed": "zz", "objective": 5, "step": 1.5, "training_set": "x" * 5000}
    edited(tmp_path / "student", "config.json", metadata=claims)
    (tmp_path / "student" / "training_set.json").unlink()
    row = of_type(evaluate(workspace, student=str(tmp_path / "student")), "measurement")[0]
    assert all(row[name] is None for name in claims)


@pytest.mark.parametrize("count", [2, 3, 7, 23, 24, 1000])
def test_chosen_ranks_never_repeat(count):
    ranks = [rank for rank, _ in chosen_ranks(count)]
    assert ranks == sorted(set(ranks))
    assert 0 in ranks
    assert count - 1 in ranks
    assert len(ranks) <= 24


def test_cancelling_stops_at_once(workspace):
    events = []
    running = prepare(config(num_noises=10_000), workspace).run("run", should_stop=lambda: len(events) > 5)

    def collect():
        for event in running:
            events.append(event)

    with pytest.raises(Cancelled):
        collect()
    assert len(events) == 6


def test_sequential_stopping_reports_the_noises_it_took(workspace):
    result = evaluate(workspace, num_noises=4096, target_relative_error=0.05)[-1]["result"]
    assert result["num_noises"] in (256, 512, 1024)


@pytest.mark.parametrize(
    ("changes", "field", "sentence"),
    [
        ({"student": "./nowhere"}, "student", "nowhere"),
        ({"teacher": "./nowhere"}, "teacher", "nowhere"),
        ({"training_set": "./nowhere"}, "training_set", "nowhere"),
        ({"device": "cuda:7"}, "device", "CUDA|GPU"),
        ({"sigma_max": 100.0}, "sigma_max", "trained from 0.002 to 80"),
        ({"student_steps": 4}, "student_steps", "no steps of its own"),
        ({"descriptor": "sscd"}, "descriptor", "--allow-torchscript"),
    ],
)
def test_what_cannot_start_says_why_and_where(workspace, changes, field, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        prepare(config(**{"student": REFERENCES.student_memorizes} | changes), workspace)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)
    assert not workspace.runs.exists()


def test_steps_auto_takes_one_rung_for_a_teacher_whose_error_stays_below_half_the_interval(workspace):
    result = evaluate(workspace, student=REFERENCES.student_generalizes, num_noises=256, steps="auto")[-1]["result"]
    assert result["steps"] in RUNGS
    assert abs(result["solver_error"]) <= (result["ci_high"] - result["ci_low"]) / 2
    (workspace.cache / "rungs.json").write_text(json.dumps(dict.fromkeys(json.loads((workspace.cache / "rungs.json").read_text()), 36)))
    assert evaluate(workspace, num_noises=64, steps="auto")[-1]["result"]["steps"] == 36, "the rung that was kept for the teacher"


def test_a_rung_from_few_noises_is_not_kept(workspace):
    assert evaluate(workspace, num_noises=8, steps="auto")[-1]["result"]["steps"] in RUNGS
    assert not (workspace.cache / "rungs.json").exists()


def test_the_retrained_teacher_has_no_floor_but_itself(workspace):
    result = evaluate(workspace, student=floor_reference(), num_noises=64)[-1]["result"]
    assert result["retrained_floor"] is None
    assert evaluate(workspace, num_noises=64)[-1]["result"]["retrained_floor"] is not None
