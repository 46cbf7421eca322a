"""DINOv2 class-token features (arXiv 2304.07193), ViT-B/14 from the Hub at a pinned revision, safetensors only."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pfd_engine.errors import InputError
from pfd_engine.hub.resolve import resolve
from pfd_engine.measure.descriptors import Descriptor

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CHECKPOINT = "facebook/dinov2-base@f9e44c814b77203eaa57a6bdbbd535f21ede1415"
SIZE = 224


def load(device: torch.device | str, file: str | None, sha256: str | None, allow_torchscript: bool) -> Descriptor:
    """Load the network: images `(B, 1 or 3, H, W)` to `(B, hidden_size)` unnormalized class-token features.

    `file` names another DINOv2 checkpoint in transformers' layout (a folder or `owner/name@revision`); `sha256`, where given, must be
    that of its weights. Raises InputError where they are not to be had.
    """
    import torch
    from transformers import Dinov2Config, Dinov2Model

    from pfd_engine.measure.descriptors._images import to_network_input

    reference = file or CHECKPOINT
    folder = resolve(reference, allow=("config.json", "model.safetensors")).path
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise InputError(f"{reference} has no model.safetensors: name a DINOv2 checkpoint in safetensors", "descriptor_file")
    with weights.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if sha256 and found != sha256.lower():
        raise InputError(f"the weights of {reference} have sha256 {found}, not {sha256}: check where they came from", "descriptor_sha256")
    try:
        network = Dinov2Model.from_pretrained(
            folder, config=Dinov2Config.from_pretrained(folder, local_files_only=True), local_files_only=True, use_safetensors=True
        )
    except Exception as error:  # whatever a foreign checkpoint provokes in the library is one sentence to the user
        raise InputError(
            f"{reference} could not be read as a DINOv2 checkpoint ({type(error).__name__}): name another", "descriptor_file"
        ) from error
    network = network.eval().requires_grad_(False).to(torch.device(device))

    def features(images: Tensor) -> Tensor:
        token: Tensor = network(to_network_input(images.float(), SIZE)).pooler_output
        return token

    return Descriptor("dinov2", features, sha256=found)
