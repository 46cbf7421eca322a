"""The cost shown before launching: calls are counted as the engine makes them, seconds come from past runs or a stated default."""

import pytest

from pfd_engine.configs.evaluate import EvaluateConfig
from pfd_engine.planning.evaluation import Model, PastRun, estimate

MLP = Model(1_000_000, (1, 8, 8), "mlp")


def config(**values):
    return EvaluateConfig(teacher="a/teacher", student="a/student", **values)


def test_calls_include_those_for_the_solver_error():
    cost = estimate(config(num_noises=1024, solver="heun", steps=18), MLP, MLP)
    assert (cost.teacher_calls, cost.student_calls) == (35, 35)
    assert cost.total_calls == 2 * (1024 * 35 + 256 * (71 + 143))


def test_a_few_step_student_counts_its_own_steps():
    student = Model(1_000_000, (1, 8, 8), "consistency", few_step=True, steps=2)
    assert estimate(config(), MLP, student).student_calls == 2
    assert estimate(config(student_steps=4), MLP, student).student_calls == 4


def test_unknown_models_have_calls_but_no_time():
    cost = estimate(config())
    assert cost.seconds is None
    assert cost.total_calls > 0


def test_time_follows_the_speed_of_past_runs_on_the_same_kind_of_device():
    past = [PastRun(1e12, 10.0, "cpu"), PastRun(1e12, 0.01, "cuda:0")]
    slow = estimate(config(device="cpu"), MLP, MLP, past)
    fast = estimate(config(device="cuda"), MLP, MLP, past)
    assert slow.seconds > fast.seconds + 1
    assert "1 earlier run" in slow.basis


def test_twice_the_noises_take_twice_the_time_less_starting():
    one, two = (estimate(config(num_noises=n), MLP, MLP, [PastRun(1e9, 1.0, "cpu")]).seconds for n in (2**15, 2**16))
    assert two == pytest.approx(2 * one, rel=0.1)


def test_a_convolutional_network_costs_more_than_its_weights_alone():
    assert Model(1000, (3, 32, 32), "unet").flops_per_call > 100 * Model(1000, (3, 32, 32), "mlp").flops_per_call
