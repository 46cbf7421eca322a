"""Made sweeps whose truth is known: students that scatter around given curves, measured on shared noises."""

import numpy as np
import pandas as pd

SIZES = {"mlp-16": 30_000, "mlp-64": 120_000, "mlp-128": 480_000, "mlp-256": 1_920_000}


def e_gen(num_samples, crossing):
    return 4 - 2.4 * np.tanh(np.log(num_samples / crossing) / 2)


def e_mem(num_samples, crossing):
    return 4 + 2.4 * np.tanh(np.log(num_samples / crossing) / 2)


def true_crossings(exponent=0.5, smallest=64.0, sizes=SIZES):
    first = min(sizes.values())
    return {size: smallest * (parameters / first) ** exponent for size, parameters in sizes.items()}


def squared_distances(rng, error, common, spread=0.5):
    """Squared distances whose root mean square is `error` in expectation; half of their spread is common to all students."""
    own = rng.standard_normal(len(common))
    return error**2 * (1 + spread * (common + own) / np.sqrt(2))


def scaling_sweep(rng, crossings, num_samples, seeds=3, noises=64, scatter=0.05, sizes=SIZES, spread=0.3):
    """Return measurements and distances of one sweep; errors scatter over seeds with standard deviation `scatter`."""
    measurements, distances = [], []
    common = rng.standard_normal(noises)
    for size, crossing in crossings.items():
        for n in num_samples:
            for seed in range(seeds):
                student = {"student": f"{size} N={n} seed {seed}", "size": size, "num_samples": n, "student_seed": seed, "step": 500}
                for metric, curve in (("E_gen", e_gen), ("E_mem", e_mem)):
                    error = curve(n, crossing) + scatter * rng.standard_normal()
                    squared = squared_distances(rng, error, common, spread)
                    distances.append({**student, "metric": metric, "squared": squared})
                    value = float(np.sqrt(squared.mean()))
                    measurements.append({**student, "parameters": sizes[size], "metric": metric, "band": None, "value": value})
    return pd.DataFrame(measurements), pd.DataFrame(distances)


def sweep_of_curves(rng, curves, num_samples, parameters=SIZES, seeds=3, noises=64, scatter=0.02, step=500):
    """Return measurements and distances of students that scatter around given `(E_gen, E_mem)` of each size, each over `num_samples`."""
    measurements, distances = [], []
    for size, pair in curves.items():
        for metric, curve in zip(("E_gen", "E_mem"), pair, strict=True):
            for n, error in zip(num_samples, curve, strict=True):
                for seed in range(seeds):
                    student = {"student": f"{size} N={n} seed {seed}", "size": size, "num_samples": n, "student_seed": seed, "step": step}
                    value = error + scatter * rng.standard_normal()
                    distances.append({**student, "metric": metric, "squared": value**2 * (1 + 0.1 * rng.standard_normal(noises))})
                    measurements.append({**student, "parameters": parameters.get(size), "metric": metric, "band": None, "value": value})
    return pd.DataFrame(measurements), pd.DataFrame(distances)


def trained_students(rng, curve, seeds=8, noises=64, scatter=0.1, memory=0.0, spread=0.3):
    """Return squared distances `(seeds, steps, noises)` along training; each student wanders around `curve` with some memory."""
    wander = rng.standard_normal((seeds, len(curve)))
    for step in range(1, len(curve)):
        wander[:, step] = memory * wander[:, step - 1] + np.sqrt(1 - memory**2) * wander[:, step]
    errors = np.maximum(curve + scatter * (wander + rng.standard_normal((seeds, 1))), 0.05)
    easy = rng.standard_normal(noises)  # most of what a noise contributes, it contributes at every step and for every student
    own = rng.standard_normal((seeds, len(curve), noises))
    return errors[:, :, None] ** 2 * (1 + spread * (0.95 * easy + 0.3 * own))


def dynamics_sweep(rng, curves, steps, size="mlp-64", **options):
    """Return measurements and distances of one sweep along training, from a mean curve for each N."""
    measurements, distances = [], []
    for n, curve in curves.items():
        for seed, student in enumerate(trained_students(rng, curve, **options)):
            row = {"student": f"{size} N={n} seed {seed}", "size": size, "num_samples": n, "student_seed": seed}
            for step, squared in zip(steps, student, strict=True):
                distances.append({**row, "step": step, "metric": "E_gen", "squared": squared})
                value = float(np.sqrt(squared.mean()))
                measurements.append({**row, "step": step, "parameters": SIZES[size], "metric": "E_gen", "band": None, "value": value})
    return pd.DataFrame(measurements), pd.DataFrame(distances)
