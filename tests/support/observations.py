"""What a script of cases observes, as JSON from a process of its own: for tests and benchmarks of the Tune callback."""

import json
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from commands import ROOT, clean_environment

sys.path.append(str(ROOT))  # scripts of this folder find the bundle there; their workers do not

LIMIT_S = 900.0
_MARK = "OBSERVED "
Observed = dict[str, Any]
Observations = dict[str, Observed]  # by the case's name


def observe(script, *arguments):
    """Run a script, by its path or of this folder, to its end and return what it printed with `tell`."""
    command = [sys.executable, str(Path(__file__).parent / script), *arguments]
    # Not in the environment of a test process, which may have run a search of the bundle's.
    surroundings = {"cwd": tempfile.gettempdir(), "env": clean_environment(RAY_worker_niceness="0")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, **surroundings)
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode or not lines:
        raise RuntimeError(f"{script} {arguments}:\n{done.stderr[-4000:]}")
    return dict(json.loads(lines[-1].removeprefix(_MARK)))


def tell(cases, empty_store, *arguments, without_ray=()):
    """Run each case with these arguments in a place of its own, and print what was observed, with the seconds.

    They share a Ray, but for those that are named in ``without_ray``, which start one of their own kind.
    """
    import ray
    from tune_sweeps import place

    logging.disable(logging.CRITICAL)
    observed = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            began = time.monotonic()
            with place(Path(empty_store), Path(folder) / case.__name__) as here:
                if case.__name__ in without_ray:
                    ray.shutdown()
                elif not ray.is_initialized():
                    start_ray()
                try:
                    observed[case.__name__] = case(*arguments, here)
                except Exception as error:
                    observed[case.__name__] = {"broken": f"{type(error).__name__}: {error}"}
            observed[case.__name__]["seconds"] = round(time.monotonic() - began, 1)
    print(_MARK + json.dumps(observed))


def start_ray(**system):
    """A Ray of this process's own with two CPU cores, whatever else runs on this machine, and with these settings.

    It starts no processes in advance: Tune's trials would not use them.
    """
    import ray

    from entrypoints.compute.workers import without_extras

    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    with without_extras():
        ray.init(address="local", num_cpus=2, **quiet, _system_config={"prestart_worker_first_driver": False} | system)
