"""Where a study's trials run: what the settings say, and what is there when it is entered."""

import sys

import pytest
from cases import cases
from commands import ROOT, Command, clean_environment

from entrypoints.compute.backends import backend
from entrypoints.errors import UserError
from entrypoints.study.plan import TRIALS


@cases(
    "given, environment, address",
    {
        "default": ("local", None, None),
        "environment": ("local", "10.0.0.1:6379", "10.0.0.1:6379"),
        "environment-says-local": ("local", "local", None),
        "parameter-wins": ("auto", "10.0.0.1:6379", "auto"),
        "IPv6": ("[fd00::1]:6379", None, "[fd00::1]:6379"),
    },
)
def test_cluster_is_chosen_by_the_parameter_or_else_the_environment(monkeypatch, given, environment, address):
    """None stands for a Ray of the study's own."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if environment is not None:
        monkeypatch.setenv("RAY_ADDRESS", environment)
    chosen = backend(given, 3, TRIALS)
    assert getattr(chosen, "address", None) == address
    assert chosen.is_here is (address is None)
    assert chosen.max_concurrent == (0 if chosen.is_here else 3)


def test_cluster_that_the_environment_names_is_refused_by_that_name(monkeypatch):
    """The user sees which of the two is meant."""
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(UserError, match=r"^RAY_ADDRESS=ray://head:10001: .*ray job submit"):
        backend("local", 1, TRIALS)


TRIAL_PROCESSES = f"""
import os, sys, time, psutil
from entrypoints.compute import environment
environment.set_defaults()
from entrypoints.compute.backends import backend
with backend("local", 1, {TRIALS!r}) as here:
    assert here.join([], "sqlite:///mlflow.db") is None
    import ray
    from ray import tune
    from ray.util import placement_group, remove_placement_group
    cores = here.cores()
    below = psutil.Process().children
    while not (there := [each.pid for each in below(recursive=True) if "ray::IDLE" in " ".join(each.cmdline())]):
        time.sleep(0.1)
    taken = placement_group([{{"CPU": 1}}])  # as Tune does first: no core is left for a process that waits
    assert taken.wait()
    time.sleep(1.5)  # longer than Ray by itself lets it wait then
    remove_placement_group(taken)

    class Asked(tune.Trainable):
        def step(self):
            heavy = ("mlflow", "sqlalchemy", "matplotlib", "openml")
            found = [name for name in heavy if name in sys.modules]
            about = {{"there": {TRIALS!r} in sys.modules, "heavy": found, "nice": os.nice(0)}}
            return {{"done": True, "pid": os.getpid(), **about}}

    (result,) = tune.Tuner(tune.with_resources(Asked, {{"cpu": 1}}), run_config=tune.RunConfig(verbose=0)).fit()
    metrics = result.metrics
    print(cores, metrics["pid"] in there, metrics["there"], metrics["heavy"], metrics["nice"])
print(ray.is_initialized())
"""


def test_trials_run_in_a_process_that_has_imported_what_they_need_and_nothing_else(tmp_path):
    """It has begun to do so when Ray started, and Ray ends with its context.

    Beside other programs it has its share of the cores.
    """
    line = [sys.executable, "-c", TRIAL_PROCESSES]
    done = Command(line, cwd=ROOT, output=tmp_path, env=clean_environment()).wait()
    assert done.stdout.splitlines()[-2:] == ["1 True True [] 0", "False"], done.stderr
