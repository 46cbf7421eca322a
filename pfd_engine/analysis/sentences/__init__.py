"""One sentence a finding: what the data show, computed from its analysis; one module a finding."""

from pfd_engine.analysis.sentences.bias_variance import bias_variance_sentence
from pfd_engine.analysis.sentences.dynamics import dynamics_sentence
from pfd_engine.analysis.sentences.scaling import collapse_sentence, scaling_details, scaling_sentence
from pfd_engine.analysis.sentences.trade_offs import trade_off_sentence

__all__ = ["bias_variance_sentence", "collapse_sentence", "dynamics_sentence", "scaling_details", "scaling_sentence", "trade_off_sentence"]
