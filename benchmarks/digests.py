"""What the digests of an evaluation cost: processor time inside them, as a share of that of the whole evaluation, by part; at most 2 %.

Measures the bundled pair in this process with an empty cache (every digest is made) and once more with a full one (every digest is
checked), loading and the event file included. Wall clocks play no part, so that a busy machine gives the same shares.

    python benchmarks/digests.py [--noises 1024] [--repeats 3]
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pfd_engine.configs.evaluate import EvaluateConfig
from pfd_engine.evaluation.prepare import prepare
from pfd_engine.hub import snapshot as snapshots
from pfd_engine.measure import end_point_cache
from pfd_engine.runs import events as run_events
from pfd_engine.workspace import ASSETS, Workspace

LIMIT = 0.02
PARTS = {"end points": end_point_cache, "event lines": run_events, "checkpoint files": snapshots}


def timed(part: str, make: Callable[..., Any], spent: Counter[str]) -> Callable[..., Any]:
    def digest(*arguments: Any, **options: Any) -> Any:
        started = time.thread_time()
        found = make(*arguments, **options)
        spent[part] += time.thread_time() - started
        return found

    return digest


def evaluate(config: EvaluateConfig, folder: Path) -> float:
    """Return the processor time of one evaluation, from its configuration to its event file."""
    snapshots.forget_hashes()
    started = time.process_time()
    workspace = Workspace(folder)
    workspace.root.mkdir(exist_ok=True)
    with closing(run_events.EventLog(folder / "events.jsonl")) as log:
        for event in prepare(config, workspace, log.append).run("benchmark"):
            log.append(event, durable=event["type"] != "progress")
    return time.process_time() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noises", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)  # threads that wait for each other spend processor time too
    config = EvaluateConfig(
        teacher=str(ASSETS / "digits-teacher"), student=str(ASSETS / "digits-student-memorizes"), num_noises=options.noises, device="cpu"
    )
    spent: Counter[str] = Counter()
    for part, module in PARTS.items():
        names = ("sha256", "blake2b", "file_digest")
        module.hashlib = SimpleNamespace(**{name: timed(part, getattr(hashlib, name), spent) for name in names})  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        evaluate(config.model_copy(update={"num_noises": 64}), Path(folder) / "warm-up")  # imports, the allocator
        shares: dict[str, list[float]] = {"cold": [], "cached": []}
        for repeat in range(options.repeats):
            for kind, found in shares.items():
                spent.clear()
                total = evaluate(config, Path(folder) / str(repeat))
                found.append(spent.total() / total)
                parts = ", ".join(f"{part} {1000 * seconds:.1f} ms" for part, seconds in spent.items())
                print(f"{kind:<7} {total:6.2f} s of processor time; {parts}; together {100 * found[-1]:.2f} %")
    worst = median(shares["cold"])
    print(f"median of the cold evaluations: {100 * worst:.2f} % (at most {100 * LIMIT:.0f} %)")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
