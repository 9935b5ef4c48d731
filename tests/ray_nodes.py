"""Ray nodes on this machine, started as users do (workflows/cluster/start_node.sh), with their own token."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
CLUSTER = ROOT / "workflows/cluster"
HERE = f"{ROOT}:{ROOT / 'tests'}"
PACKAGES = ("operators", "gpu_ops", "pipeline", "workflows")
START_S = 300  # on a busy machine
HIDE = """import os, sys
sys.meta_path[:] = [f for f in sys.meta_path if "__editable__" not in str(getattr(f, "__module__", ""))]
# What Ray brings lies in its own folder, which stays.
there = [p for p in sys.path if os.path.isfile(os.path.join(p, "pipeline", "ray_worker.py"))]
sys.path[:] = [p for p in sys.path if p not in there or "runtime_resources" in p]
"""


def free_port() -> int:
    """A port above those that Ray gives its workers (10002 to 19999)."""
    while True:
        with socket.socket() as found:
            found.bind(("", 0))
            port: int = found.getsockname()[1]
        if port > 20_000:
            return port


class Nodes:
    """A head that runs no tasks, and workers. Ray's folder is short, as it holds sockets."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tr", dir="/tmp"))
        self.port, self.dashboard = free_port(), free_port()
        (self.folder / "token").write_text(secrets.token_hex(32))
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.address = ""

    def environment(self, python_path: Path | str = HERE) -> dict[str, str]:
        """What a shell on a node has, with tamis or something else on Python's path."""
        bin = Path(sys.executable).parent
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHONPATH"))}
        made = {
            "PATH": f"{bin}:{os.environ['PATH']}", "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "RAY_AUTH_MODE": "token", "RAY_PORT": str(self.port), "RAY_DASHBOARD_PORT": str(self.dashboard),
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{self.dashboard}", "RAY_WAIT_S": str(START_S),
            "RAY_raylet_start_wait_time_s": str(START_S), "TAMIS_WAIT_S": "1",
        }  # fmt: skip
        return kept | made | {"PYTHONPATH": str(python_path)}

    def start(self, name: str, *arguments: str, python_path: Path | str = HERE) -> None:
        """`start_node.sh ARGUMENTS`; returns when the node is there."""
        log = self.folder / f"{name}.log"
        small = "--object-store-memory=100000000"
        with log.open("wb") as out:
            self.running[name] = subprocess.Popen(
                ["bash", str(CLUSTER / "start_node.sh"), *arguments, small], cwd=self.folder,
                env=self.environment(python_path), stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while "block forever" not in (text := log.read_text(errors="replace")):
            assert self.running[name].poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.2)

    def head(self) -> None:
        self.start("head", "head", "--num-cpus=0", f"--temp-dir={self.folder}/ray")
        text = (self.folder / "head.log").read_text()
        host = re.search(r"Local node IP\D*?([\d.]{7,})", re.sub(r"\x1b\[[0-9;]*m", "", text))
        assert host, text
        self.address = f"{host[1]}:{self.port}"

    def worker(self, name: str, python_path: Path | str = HERE) -> None:
        # A folder of its own: nodes that share one delete each other's copies of what travels.
        own = f"--temp-dir={self.folder}/{name}"
        self.start(name, "worker", self.address, "--num-cpus=1", own, python_path=python_path)

    def stop(self, name: str) -> None:
        """SIGTERM, as a user or a cluster would; the node's processes end with it."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)

    def close(self) -> None:
        for name in list(self.running)[::-1]:
            self.stop(name)
        shutil.rmtree(self.folder, ignore_errors=True)


def without_tamis(folder: Path) -> Path:
    """A folder for PYTHONPATH that hides an installed tamis, also an editable one."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HIDE)
    return folder


def another_tamis(folder: Path) -> Path:
    """A copy of this tamis with one comment more."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "operators/lengths.py").open("a") as file:
        file.write("# other\n")
    return folder
