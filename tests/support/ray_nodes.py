"""A Ray cluster of several nodes on this machine, whose workers have the libraries and nothing of this project.

Each has an address of its own, as on several machines: Linux has 127.0.0.2 and so on without being told. Run as a
script it is the cluster: it takes a JSON list of each node's CPU cores, and answers each line on its input.
"""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from pathlib import Path

# No processes in advance: what is sent to the nodes needs its own. All have their share of a busy machine.
SETTINGS = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_prestart_worker_first_driver": "0", "RAY_worker_niceness": "0"}


def python_without_project(folder):
    """An interpreter that finds this one's libraries, but not what is installed beside them in editable form."""
    venv.create(folder, with_pip=False, symlinks=True)
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    # Files that end in .pth, as an editable installation is, are read only in an interpreter's own folder.
    Path(paths["purelib"], "libraries.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin" / "python"


class Nodes:
    """The running cluster, seen from a test."""

    def __init__(self, process):
        self._process = process
        self.address = self._answer()

    def ask(self, *words):
        """What the cluster's process answers to a line."""
        print(*words, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self):
        return json.loads(self._process.stdout.readline())


@contextlib.contextmanager
def ray_nodes(folder, cpus, token=None):
    """Start a cluster with a node for each number of cores, the head first; its files are in a folder.

    With a token it lets in only who has it.
    """
    from commands import clean_environment  # which the script cannot import

    python = python_without_project(folder / "python")
    # Ray notes the last cluster in a place that all look at: others on this machine would join this one.
    scratch = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # names of sockets must be short
    script = shutil.copy(__file__, folder)
    env = clean_environment(**SETTINGS, RAY_TMPDIR=scratch, RAY_AUTH_MODE="token" if token else "disabled")
    if token:
        env["RAY_AUTH_TOKEN"] = token
    with (folder / "cluster.log").open("w") as log:
        process = subprocess.Popen(
            [python, script, json.dumps(cpus)],
            cwd=folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield Nodes(process)
    finally:
        process.communicate(timeout=300)  # the end of its input ends it
        shutil.rmtree(scratch, ignore_errors=True)


def main():
    """Be the cluster."""
    import ray
    from ray._raylet import GcsClient
    from ray.cluster_utils import Cluster
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Ray prints, such as a node's death, is not an answer
    head, *others = json.loads(sys.argv[1])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": head, "include_dashboard": False})
    nodes = {}  # and where each is, by its id

    def add(address, cpus):
        node = cluster.add_node(num_cpus=cpus, node_ip_address=address)
        nodes[node.node_id] = (node, address, cpus)

    for number, cpus in enumerate(others, start=2):
        add(f"127.0.0.{number}", cpus)
    ray.init(cluster.address, log_to_driver=False)

    @ray.remote(num_cpus=1)
    class OtherJob:
        def __init__(self):
            self.count = 0

        def calls(self):
            self.count += 1
            return self.count

    other_job = functools.cache(OtherJob.remote)

    def kill(node_id):
        node, *_ = nodes.pop(node_id)
        cluster.remove_node(node, allow_graceful=False)

    def replace(node_id):
        _, address, cpus = nodes[node_id]
        kill(node_id)
        add(address, cpus)

    def announce(node_id):
        reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        accepted, why = GcsClient(address=cluster.address).drain_node(node_id, reason, "spot instance", 2**63 - 1)
        assert accepted, why
        time.sleep(10)  # Ray tells the owners of its actors meanwhile, and nobody else when they know
        replace(node_id)

    commands = {"kill": kill, "replace": replace, "announce": announce}
    commands["work"] = lambda: ray.get(other_job().calls.remote())
    commands["others"] = lambda: list(nodes)
    print(json.dumps(cluster.address), file=answers, flush=True)
    for line in sys.stdin:
        command, *arguments = line.split()
        print(json.dumps(commands[command](*arguments)), file=answers, flush=True)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
