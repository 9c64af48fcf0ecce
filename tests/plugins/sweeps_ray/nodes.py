"""A Ray cluster of several raylets on this machine, in a process of its own; a line of JSON each says what to do.

`{"add": {…}}` starts a node with these resources, and the answer is its raylet's process id; the first answer is the
cluster's address. It ends with standard input, and nothing of it survives.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import redirect_stdout

from oarlock_plugins.sweeps.processes import processes_of


def serve(first):
    with redirect_stdout(sys.stderr):
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={**first, "include_dashboard": False})
    answer(address=cluster.address, raylet=raylet(cluster.head_node))
    for line in sys.stdin:
        with redirect_stdout(sys.stderr):
            node = cluster.add_node(**json.loads(line)["add"])
        answer(raylet=raylet(node))


def raylet(node):
    return node.all_processes["raylet"][0].process.pid


def answer(**values):
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    try:
        serve(json.loads(sys.argv[1]))
    finally:
        for pid in sorted(processes_of(os.getsid(0)), key=lambda pid: pid == os.getpid()):
            os.kill(pid, signal.SIGKILL)
