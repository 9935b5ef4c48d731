"""A Ray cluster of several nodes on this machine, of which nodes die and are replaced."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflows.kills.attack import Running, children, kill_process, parent

NODES = 3
MEMORY_BYTES = 100 << 20  # of a node's object store


@dataclass
class Nodes:
    """The cluster. The head stays; the others may die."""

    cluster: Any

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def others(self) -> dict[int, Any]:
        """The process that leads a node -> the node, without the head."""
        nodes = self.cluster.list_all_nodes()
        return {_leader(node): node for node in nodes if node is not self.cluster.head_node}

    def kill_node(self, run: Running, event: dict[str, Any]) -> bool:
        """The whole node on which a task runs: its leader and all that this started."""
        if run.ended() or event["pid"] == run.process.pid:
            return False
        with suppress(ProcessLookupError):
            leader = parent(event["pid"])
            if leader in self.others():
                for pid in (leader, *children(leader)):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                return True
        return False

    def kill_worker(self, run: Running, event: dict[str, Any]) -> bool:
        """The process in which a task runs."""
        return kill_process(run, event)

    def mend(self) -> None:
        """New nodes for the dead ones."""
        for leader, node in self.others().items():
            if not Path(f"/proc/{leader}").exists() or _is_dead(leader):
                self.cluster.remove_node(node, allow_graceful=False)
        while len(self.cluster.list_all_nodes()) < NODES:
            self.cluster.add_node(num_cpus=1, object_store_memory=MEMORY_BYTES)


def _leader(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@contextmanager
def nodes(folder: str) -> Iterator[Nodes]:
    """Three nodes of one CPU each; Ray's own files go to the folder, of which the name must be short."""
    # A note of the cluster in a folder of its own: else any `tamis run --engine ray` here would join it.
    # Ray 2.60 counts the leases of a driver that was killed for ever against its cap of workers, so that the
    # next driver waits 2 s before every phase.
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": folder, "RAY_worker_cap_enabled": "0"}
    os.environ |= settings
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "object_store_memory": MEMORY_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        made = Nodes(cluster)
        made.mend()
        yield made
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
