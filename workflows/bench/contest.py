"""Runs a deduplicator in a process of its own, and says what it cost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflows.bench import measure
from workflows.bench.truth import read_ids

ROOT = Path(__file__).resolve().parents[2]
LOG_LINES = 3  # of a peer that failed


@dataclass(frozen=True)
class Peer:
    """distribution: the package whose version counts. checks: how it decides that two documents are near."""

    name: str
    distribution: str
    checks: str

    @property
    def module(self) -> str:
        return f"workflows.bench.peers.run_{self.name.replace('-', '_')}"


PEERS = {
    peer.name: peer
    for peer in (
        Peer("tamis", "tamis", "exact Jaccard with a kept document"),
        Peer("rensa", "rensa", "estimate with a kept document"),
        Peer("gaoya", "gaoya", "estimate with a kept document"),
        Peer("datasketch", "datasketch", "band match with a kept document"),
        Peer("text-dedup", "text-dedup", "band matches, connected"),
        Peer("datatrove", "datatrove", "band matches, connected"),
    )
}


@dataclass(frozen=True)
class Corpus:
    """megabytes: of text, in UTF-8 (10^6 bytes)."""

    name: str
    path: Path
    documents: int
    megabytes: float


class Contest:
    """Runs peers on corpora. pythons: peer -> the interpreter that has it; this one for the others."""

    def __init__(self, out: Path, threshold: float, pythons: Mapping[str, str], repeats: int) -> None:
        self.out, self.threshold, self.pythons, self.repeats = out, threshold, pythons, repeats

    def version(self, peer: Peer) -> str | None:
        """The installed version; None where there is none."""
        program = f"from importlib.metadata import version; print(version({peer.distribution!r}))"
        command = [self._python(peer), "-c", program]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        return found.stdout.strip() or None

    def run(self, peer: Peer, corpus: Corpus, workers: int) -> dict[str, Any]:
        """The cheapest of `repeats` runs: cpu_s, wall_s, peak_bytes and kept ids, or an error."""
        facts = {"peer": peer.name, "corpus": corpus.name, "documents": corpus.documents}
        facts |= {"megabytes": corpus.megabytes, "workers": workers, "version": self.version(peer)}
        if facts["version"] is None:
            return {**facts, "error": f"{peer.distribution} is not installed for {self._python(peer)}"}
        costs = [self._once(peer, corpus, workers) for _ in range(self.repeats)]
        failed = next((cost for cost in costs if "error" in cost), None)
        return {**facts, **(failed or min(costs, key=lambda cost: cost["cpu_s"]))}

    def _once(self, peer: Peer, corpus: Corpus, workers: int) -> dict[str, Any]:
        folder = self.out / "runs" / f"{peer.name}-{corpus.name}-{workers}"
        shutil.rmtree(folder, ignore_errors=True)
        work, kept, log, cost = (folder / name for name in ("work", "kept", "log.txt", "cost.json"))
        work.mkdir(parents=True)
        arguments = [corpus.path, kept, work, self.threshold, workers]
        command = [self._python(peer), "-m", peer.module, *map(str, arguments)]
        launcher = [sys.executable, "-S", str(measure.__file__), str(cost), str(log), *command]
        subprocess.run(launcher, env=_environment(workers), cwd=folder, check=True)
        spent: dict[str, Any] = json.loads(cost.read_text("utf-8"))
        shutil.rmtree(work)  # stores and caches of gigabytes
        if spent.pop("exit") != 0:
            lines = log.read_text("utf-8", "replace").strip().splitlines()[-LOG_LINES:]
            return {**spent, "error": " ".join(line.strip() for line in lines) or "it failed without a word"}
        return {**spent, "kept": read_ids(kept)}

    def _python(self, peer: Peer) -> str:
        return self.pythons.get(peer.name, sys.executable)


def _environment(workers: int) -> dict[str, str]:
    """So many threads for whoever asks the environment; no peer may look for a network."""
    threads = ("RAYON", "OMP", "OPENBLAS", "MKL", "NUMBA", "POLARS")
    names = [f"{name}_NUM_THREADS" if name != "POLARS" else "POLARS_MAX_THREADS" for name in threads]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return os.environ | dict.fromkeys(names, str(workers)) | offline | {"PYTHONPATH": str(ROOT)}
