"""RP and M scores count agreeing pairs and copies, with a small real TorchScript network in the place of SSCD's weights."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from pfd_engine import EvaluateConfig
from pfd_engine.evaluation.prepare import prepare
from pfd_engine.measure.descriptors import Descriptor
from pfd_engine.measure.descriptors._images import to_network_input
from pfd_engine.measure.metrics.copies import CopyScores
from pfd_engine.models.bundled import bundled_references
from pfd_engine.training_sets.images import load_digits_images
from pfd_engine.workspace import Workspace


def unit(images: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(images.flatten(1), dim=1)


def test_scores_count_cosines_above_the_threshold() -> None:
    angles = torch.tensor([0.0, 0.8, 1.0, 3.0])  # cosines 1, 0.70, 0.54, -0.99
    student = torch.stack([angles.cos(), angles.sin()], dim=1)[:, :, None]
    teacher = torch.tensor([1.0, 0.0]).expand(4, 2)
    squared = (unit(student) - teacher).square().sum(1).double().numpy()
    scores = CopyScores(Descriptor("sscd", unit), torch.tensor([[[-1.0], [0.0]]]), torch.device("cpu"))
    scores.add(squared[:3], student[:3])
    scores.add(squared[3:], student[3:])
    shares = scores.shares()
    assert (shares["RP"].value, shares["M"].value) == (0.5, 0.25)
    assert shares["M"].ci_low < 0.25 < shares["M"].ci_high


def test_without_a_training_set_there_is_no_m_score() -> None:
    scores = CopyScores(Descriptor("sscd", unit), None, torch.device("cpu"))
    scores.add(np.zeros(3), torch.ones(3, 1, 2))
    assert set(scores.shares()) == {"RP"}


def test_an_evaluation_with_sscd_states_both_and_others_neither(tmp_path) -> None:
    path = tmp_path / "sscd.pt"
    pixels, center = torch.nn.Sequential(torch.nn.AvgPool2d(36), torch.nn.Flatten()), torch.nn.BatchNorm1d(192, affine=False)
    center.running_mean = pixels(to_network_input(load_digits_images()[:256], 288)).mean(0)
    network = torch.nn.Sequential(pixels, center).eval()  # 8x8 pixels again, less the mean digit
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.trace(network, torch.zeros(1, 3, 288, 288)), str(path))
    sscd = {"descriptor": "sscd", "descriptor_file": str(path), "descriptor_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    references = bundled_references()

    def metrics(student: str, **options: object) -> dict[str, float]:
        config = EvaluateConfig.parse({"teacher": references.teacher, "student": student, "num_noises": 64, **options})
        events = list(prepare(config, Workspace(tmp_path / "workspace")).run("run"))
        return {event["metric"]: event["value"] for event in events if event["type"] == "measurement"}

    memorizes = metrics(references.student_memorizes, allow_torchscript=True, **sscd)
    generalizes = metrics(references.student_generalizes, allow_torchscript=True, **sscd)
    assert generalizes["RP"] > memorizes["RP"]
    assert memorizes["M"] > 0.9
    assert not {"RP", "M"} & metrics(references.student_memorizes).keys()
