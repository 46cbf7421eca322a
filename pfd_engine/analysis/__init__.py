"""What the stored numbers say: pure functions from data frames to data frames and sentences (numpy, scipy, pandas; no I/O)."""

from pfd_engine.analysis.evaluation import NORMAL_95, Verdict, convergence, memorization_verdict

__all__ = ["NORMAL_95", "Verdict", "convergence", "memorization_verdict"]
