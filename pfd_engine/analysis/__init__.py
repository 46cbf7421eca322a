"""What the stored numbers say: pure functions from data frames to data frames and sentences (numpy, scipy, pandas; no I/O)."""

from pfd_engine.analysis.bias_variance import BiasVarianceAnalysis, analyze_bias_variance
from pfd_engine.analysis.dynamics import DynamicsAnalysis, Judgement, analyze_dynamics, judge
from pfd_engine.analysis.evaluation import convergence
from pfd_engine.analysis.scaling import Exponent, ScalingAnalysis, analyze_scaling, find_crossing
from pfd_engine.analysis.sentences import (
    bias_variance_sentence,
    collapse_sentence,
    dynamics_sentence,
    scaling_details,
    scaling_sentence,
    trade_off_sentence,
)
from pfd_engine.analysis.student_verdicts import student_verdicts
from pfd_engine.analysis.students import seed_means
from pfd_engine.analysis.trade_offs import pareto_front
from pfd_engine.analysis.verdicts import Comparison, Verdict, judge_student, squared_deviations

__all__ = [
    "BiasVarianceAnalysis",
    "Comparison",
    "DynamicsAnalysis",
    "Exponent",
    "Judgement",
    "ScalingAnalysis",
    "Verdict",
    "analyze_bias_variance",
    "analyze_dynamics",
    "analyze_scaling",
    "bias_variance_sentence",
    "collapse_sentence",
    "convergence",
    "dynamics_sentence",
    "find_crossing",
    "judge",
    "judge_student",
    "pareto_front",
    "scaling_details",
    "scaling_sentence",
    "seed_means",
    "squared_deviations",
    "student_verdicts",
    "trade_off_sentence",
]
