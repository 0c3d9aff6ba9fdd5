"""How these tests are run: what each of pytest's processes imports, in which order, and which tests."""

import functools
import os
import shutil
import signal
import tempfile
from pathlib import Path

# As in a study's processes.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", NUMPY_MADVISE_HUGEPAGE="0")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what it runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
from xdist.scheduler import LoadFileScheduling

from entrypoints.compute import environment

environment.set_defaults()  # as each command does
ROOT = Path(__file__).parents[1]
RUN_SLOW = os.environ.get("RUN_SLOW") == "1"


def pytest_configure(config):
    """Prepare a process that runs tests; the one that hands them out imports little."""
    if hasattr(config, "workerinput") or config.option.dist == "no":
        from hypothesis import settings

        settings.register_profile(
            "same", derandomize=True, deadline=None
        )  # --hypothesis-profile=default makes up new examples
        settings.load_profile(config.getoption("--hypothesis-profile") or "same")
        config.pluginmanager.import_plugin("shared_fixtures")
        folder = tempfile.mkdtemp(prefix="journals-")  # not the developer's own
        os.environ["MLFLOW_SYSMETRICS_SPOOL"] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


LONGEST = [
    "test_cluster",
    "test_pipelines",
    "test_early_stop",
    "test_faults",
    "test_examples",
    "test_resume",
    "test_main",
]


def pytest_collection_modifyitems(items):
    """Begin with files that start projects or Ray, the longest first; skip what takes long unless asked for.

    Integrations come last: what they load, and their threads, stay in the process.
    """
    starts = {"start_project", "local_ray", "place"}
    long = {item.path for item in items if starts.intersection(getattr(item, "fixturenames", ()))}
    places = {name: place for place, name in enumerate(LONGEST, -len(LONGEST))}
    items.sort(
        key=lambda item: (
            item.path.parent.name == "integrations",
            places.get(item.path.stem, item.path not in long),
        )
    )
    if not RUN_SLOW:
        for item in items:
            if any(item.get_closest_marker(mark) for mark in ("slow", "browser", "alone")):
                item.add_marker(pytest.mark.skip(reason="set RUN_SLOW=1"))


class OneRay(LoadFileScheduling):
    """Whole files go to one of pytest's processes, and those that need Ray all to the same, which starts it once.

    Slow tests that need Ray take longer together than one process should: each then starts its own.
    """

    def _split_scope(self, nodeid):
        file = str(super()._split_scope(nodeid))
        return "local_ray" if not RUN_SLOW and "local_ray" in _text(file) else file


@functools.cache
def _text(file):
    return (ROOT / file).read_text()


def pytest_xdist_make_scheduler(config, log):
    """Have pytest-xdist schedule so."""
    return OneRay(config, log)
