"""The command line on checkpoints of every family, from a real Hub server on loopback."""

import json
import os
import subprocess
import sys

import pytest

from pfd_engine.workspace import REPOSITORY
from tests.hub_server import FAMILIES, FEW_STEP

pytestmark = pytest.mark.hub


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_evaluated_from_the_hub(hub, family):
    teacher, student = hub.reference("edm"), hub.reference(family)
    command = [
        sys.executable,
        "-m",
        "pfd_engine",
        "evaluate",
        "--teacher",
        teacher,
        "--student",
        f"{student}@main",
        "--noises",
        "8",
        "--json",
    ]
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["student"]["reference"] == student
    assert len(result["student"]["revision"]) == 40
    assert result["ci_low"] <= result["value"] <= result["ci_high"]
    assert result["student_steps"] == (1 if family in FEW_STEP else None)
    assert result["network_calls"]["student"] == (1 if family in FEW_STEP else 35)
