"""A real Hub server (olah) on loopback that serves one tiny checkpoint of every family; `python -m tests.hub_server` runs it.

It needs the environment `.venv-hub` (`requirements-hub-test.txt`), which `make test` makes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.servers import free_port

REPOSITORY = Path(__file__).resolve().parents[1]
OLAH = REPOSITORY / ".venv-hub" / "bin" / "olah-cli"
OWNER = "tiny"
SHAPE = (1, 8, 8)

_BETAS = {"num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "clip_sample": False}
# family -> (pipeline, scheduler, the scheduler's settings, the network's settings)
_DIFFUSERS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "ddpm": ("DDPMPipeline", "DDPMScheduler", _BETAS, {}),
    "ddim-v": ("DDIMPipeline", "DDIMScheduler", {**_BETAS, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True}, {}),
    "ddpm-sample": ("DDPMPipeline", "DDPMScheduler", {**_BETAS, "prediction_type": "sample", "beta_schedule": "squaredcos_cap_v2"}, {}),
    "pndm": ("PNDMPipeline", "PNDMScheduler", {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}, {}),
    "edm": ("KarrasVePipeline", "EDMEulerScheduler", {"sigma_data": 0.5}, {}),
    "score-sde-ve": ("ScoreSdeVePipeline", "ScoreSdeVeScheduler", {"sigma_max": 100.0}, {"time_embedding_type": "fourier"}),
    "rectified-flow": ("RFPipeline", "FlowMatchEulerDiscreteScheduler", {"shift": 1.0}, {}),
    "consistency": ("ConsistencyModelPipeline", "CMStochasticIterativeScheduler", {}, {}),
}
FAMILIES = ("own", *_DIFFUSERS)
FEW_STEP = ("consistency",)


def tiny_unet(seed: int = 0, **settings: Any) -> Any:
    """Return a random UNet2DModel of about 45,000 parameters for samples 1x8x8, in evaluation mode."""
    import torch
    from diffusers import UNet2DModel

    defaults: dict[str, Any] = {
        "sample_size": 8,
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        "norm_num_groups": 4,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DModel(**{**defaults, **settings}).eval()


def make_family_folder(family: str, path: Path, seed: int = 0, scheduler: dict[str, Any] | None = None, **network: Any) -> Path:
    """Write a tiny checkpoint of one of `FAMILIES` into the folder `path`; seeds make different networks of one kind.

    `scheduler` and `network` override settings of the scheduler and of the U-Net.
    """
    path.mkdir(parents=True, exist_ok=True)
    if family == "own":
        return _make_own_folder(path, seed)
    import diffusers

    pipeline, scheduler_class, settings, network_settings = _DIFFUSERS[family]
    tiny_unet(seed, **{**network_settings, **network}).save_pretrained(path / "unet")
    getattr(diffusers, scheduler_class)(**{**settings, **(scheduler or {})}).save_pretrained(path / "scheduler")
    index = {"_class_name": pipeline, "scheduler": ["diffusers", scheduler_class], "unet": ["diffusers", "UNet2DModel"]}
    (path / "model_index.json").write_text(json.dumps(index))
    (path / "README.md").write_text("---\nlicense: apache-2.0\n---\nA tiny random checkpoint for tests.\n")
    return path


def _make_own_folder(path: Path, seed: int) -> Path:
    import torch
    from safetensors.torch import save_file

    from pfd_engine.models.families.own import MLPOptions, OwnConfig
    from pfd_engine.models.networks.own import build_network

    options = MLPOptions(width=32, blocks=1)
    network = build_network("mlp", SHAPE, options.model_dump(), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    state = {name: value + 0.05 * torch.randn(value.shape, generator=generator) for name, value in network.state_dict().items()}
    save_file(state, path / "model.safetensors")
    config = OwnConfig(network=options, sigma_data=0.6, shape=SHAPE, license="apache-2.0", metadata={"size": "tiny"})
    (path / "config.json").write_text(json.dumps(config.model_dump(mode="json")))
    (path / "README.md").write_text("---\nlicense: apache-2.0\n---\nA tiny random checkpoint for tests.\n")
    return path


class HubServer:
    """An olah process with its repositories below `root`; `endpoint` is what HF_ENDPOINT has to say."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def reference(self, family: str) -> str:
        """Return the reference of the tiny checkpoint of one of `FAMILIES`."""
        return f"{OWNER}/{family}"

    def add(self, name: str, write: Callable[[Path], Any], kind: str = "models", lfs: bool = False, tag: str | None = None) -> str:
        """Commit what `write(folder)` leaves to the repository `owner/name`, made where it is new; return the commit sha."""
        folder = self.root / "mirrors" / kind / name
        if not (folder / ".git").exists():
            folder.mkdir(parents=True)
            _git(folder, "init", "-q", "-b", "main")
            if lfs:
                _git(folder, "lfs", "install", "--local")
                _git(folder, "lfs", "track", "*.safetensors")
            head = self.root / "cache" / "api" / kind / name / "revision" / "main" / "meta_head.json"
            head.parent.mkdir(parents=True)
            head.write_text(json.dumps({"sha": "main", "lastModified": "2026-01-01T00:00:00"}))
        write(folder)
        _git(folder, "add", "-A")
        _git(folder, "commit", "-q", "-m", "Add files")
        if tag is not None:
            _git(folder, "tag", tag)
        return _git(folder, "rev-parse", "HEAD")

    def add_families(self) -> None:
        """Add one tiny checkpoint of every family."""
        for family in FAMILIES:
            self.add(self.reference(family), lambda folder, family=family: make_family_folder(family, folder))

    def start(self) -> None:
        """Start the server and wait until it answers."""
        (self.root / "olah.toml").write_text(
            f'[basic]\nhost="127.0.0.1"\nport={self.port}\nmirrors-path=["{self.root}/mirrors"]\nrepos-path="{self.root}/cache"\n'
            'hf-scheme="http"\nhf-netloc="127.0.0.1:9"\nhf-lfs-netloc="127.0.0.1:9"\n[accessibility]\noffline=true\n'
        )
        command = [str(OLAH), "--config", str(self.root / "olah.toml"), "--log-path", str(self.root / "logs")]
        with (self.root / "olah.log").open("wb") as log:
            self.process = subprocess.Popen(command, cwd=self.root, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.endpoint}/api/models/{self.reference('own')}", timeout=2):
                    return
            except OSError as error:
                if getattr(error, "code", None) is not None:
                    return
                time.sleep(0.1)
        self.stop()
        raise RuntimeError("the Hub server did not start: " + (self.root / "olah.log").read_text()[-2000:])

    def stop(self) -> None:
        """Stop the server."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
            self.process = None


def why_not_available() -> str | None:
    """Return why the server cannot run here, or None."""
    if not OLAH.exists():
        return "no .venv-hub with olah: run `make test`, or install requirements-hub-test.txt into it"
    if shutil.which("git") is None:
        return "git is not installed"
    return None


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Tests", "-c", "user.email=tests@localhost", "-c", "commit.gpgsign=false"]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, env=environment, check=True, capture_output=True, timeout=60)
    return done.stdout.decode().strip()


def main() -> int:
    """Serve every family until interrupted."""
    reason = why_not_available()
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="pfd-hub-") as root:
        server = HubServer(Path(root))
        server.add_families()
        server.start()
        print(f"export HF_ENDPOINT={server.endpoint}")
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        print("references: " + " ".join(server.reference(family) for family in FAMILIES), flush=True)
        try:
            while server.process is not None and server.process.poll() is None:
                time.sleep(0.5)
        except KeyboardInterrupt:
            pass
        finally:
            server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
