"""SSCD copy-detection embeddings from a TorchScript file that the user names (arXiv 2202.10261).

TorchScript is code: it runs only behind `allow_torchscript`, only from a file on this machine whose sha256 the user states, and never
on a host that others can reach (where `PFD_MODE` is `demo` or `hosted`).
"""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path

import torch
from torch import Tensor

from pfd_engine.errors import InputError
from pfd_engine.measure.descriptors import Descriptor
from pfd_engine.measure.descriptors._images import to_network_input

SIZE = 288


def load(device: torch.device | str, file: str | None, sha256: str | None, allow_torchscript: bool) -> Descriptor:
    """Load the network `(B, 3, 288, 288) -> (B, D)`; raises InputError unless the file, its sha256 and the consent are all given."""
    if not allow_torchscript or os.environ.get("PFD_MODE", "local") != "local":
        raise InputError(
            "sscd runs a TorchScript file, which is code: allow it with --allow-torchscript, on a machine of your own only",
            "descriptor",
        )
    if not file or not sha256:
        raise InputError(
            "sscd needs its TorchScript file and its sha256: give --descriptor-file and --descriptor-sha256", "descriptor_file"
        )
    path = Path(file).expanduser()
    if not path.is_file():
        raise InputError(f"{file} is no file: give the path of SSCD's TorchScript file", "descriptor_file")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256.lower():
        raise InputError(f"{path.name} has sha256 {found}, not {sha256}: check where it came from", "descriptor_sha256")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is deprecated in torch; SSCD is published in no other form
            network = torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError:
        raise InputError(f"{path.name} is not a TorchScript file: give the one that SSCD's authors publish", "descriptor_file") from None

    def features(images: Tensor) -> Tensor:
        embedding: Tensor = network(to_network_input(images.float(), SIZE))
        return torch.nn.functional.normalize(embedding.flatten(1), dim=1)

    return Descriptor("sscd", features, sha256=found)
