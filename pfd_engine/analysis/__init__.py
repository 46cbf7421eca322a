"""What the stored numbers say: pure functions from data frames to data frames and sentences (numpy, scipy, pandas; no I/O)."""

from pfd_engine.analysis.bias_variance import BiasVarianceAnalysis, analyze_bias_variance
from pfd_engine.analysis.dynamics import DynamicsAnalysis, Judgement, analyze_dynamics, judge
from pfd_engine.analysis.evaluation import NORMAL_95, Verdict, convergence, memorization_verdict
from pfd_engine.analysis.scaling import Exponent, ScalingAnalysis, analyze_scaling, find_crossing
from pfd_engine.analysis.sentences import (
    bias_variance_sentence,
    collapse_sentence,
    dynamics_sentence,
    scaling_details,
    scaling_sentence,
    trade_off_sentence,
)
from pfd_engine.analysis.students import seed_means
from pfd_engine.analysis.trade_offs import pareto_front

__all__ = [
    "NORMAL_95",
    "BiasVarianceAnalysis",
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
    "memorization_verdict",
    "pareto_front",
    "scaling_details",
    "scaling_sentence",
    "seed_means",
    "trade_off_sentence",
]
