"""What a sweep shows, in one sentence, from its rows in a store. No torch."""

from __future__ import annotations

from pfd_engine.store import Store


def finding_sentence(store: Store, run_id: str, experiment: str) -> str:
    """Analyze a sweep and say in one sentence what its data show; raises KeyError for an unknown experiment."""
    from pfd_engine import analysis
    from pfd_engine.sweep_queries import sweep_distances, sweep_measurements

    measurements = sweep_measurements(store, run_id)
    if experiment == "bias-variance":
        return analysis.bias_variance_sentence(analysis.analyze_bias_variance(measurements))
    distances = sweep_distances(store, run_id)
    if experiment == "scaling":
        return analysis.scaling_sentence(analysis.analyze_scaling(measurements, distances))
    if experiment == "training-dynamics":
        return analysis.dynamics_sentence(analysis.analyze_dynamics(measurements, distances))
    raise KeyError(experiment)
