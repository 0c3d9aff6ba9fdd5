"""The faults of `tune_faults` in words, and what may not be left of a study after one."""

from __future__ import annotations

from observations import Observed

KINDS = ("class", "function")
# By case: the fault, and what was done.
FAULTS = {
    "trial_raises": ("a trial raises", "one of three, in its third step"),
    "trial_is_killed": ("a trial's process is killed", "kill -9, in its third step; Tune gives the trial up"),
    "trial_is_killed_and_repeated": ("and Tune tries it again", "the same with max_failures=1, without a checkpoint"),
    "trial_takes_too_much_memory": (
        "Ray kills a trial for memory",
        "one of three, in its third step, by Ray's monitor",
    ),
    "driver_is_killed_and_restored": (
        "the driver is killed",
        "kill -9, when one of three trials had ended; Tuner.restore",
    ),
    "server_is_killed_and_restarted": ("the tracking server is killed", "kill -9; a new one after 6 s, in mid-study"),
    "disk_is_full": ("the store's disk is full", "not a byte left on the server's disk for 6 s, in mid-study"),
    "server_is_away_to_the_end": (
        "the server stays away",
        "kill -9; a new one after the study; mlflow-sysmetrics sync",
    ),
    "server_is_away_all_the_time": ("and no run has been created", "the same, before the first trial"),
    # In this order: after the second there is a node less.
    "node_is_killed_and_comes_back": ("a worker node is killed", "with its trial; another starts under its address"),
    "node_is_killed": ("and does not come back", "one of three nodes, with its trial; max_failures=1"),
}
# What tags of the trials' runs say of it, where a trial was hit.
WORDS = {
    "trial_raises": "RuntimeError: broken",
    "trial_is_killed": "worker process has died",
    "trial_is_killed_and_repeated": "worker process has died",
    "trial_takes_too_much_memory": "killed by Ray's memory monitor",
    "node_is_killed": "The actor",
    "node_is_killed_and_comes_back": "The actor",
}


# The store's hit the process of the Tune loop alone, and a node is any process's: one kind of trainable is enough.
OF_ONE_KIND = list(FAULTS)[5:]


def tried(kind: str) -> list[str]:
    """The faults of a kind's studies."""
    return [fault for fault in FAULTS if kind == KINDS[0] or fault not in OF_ONE_KIND]


def wrong_with(fault: str, observed: Observed) -> list[str]:
    """What is wrong with what is left of a study."""
    if "broken" in observed:
        return [str(observed["broken"])]
    wrong = {
        f"the study ended with {observed['error']}": observed["error"] is not None,
        "results are lost": observed["stored"] < observed["reported"] or not observed["reported"],
        "something is there twice": observed["twice"] > 0,
        "runs are left RUNNING": observed["running"] > 0,
        "processes are not measured": observed.get("unmeasured", 0) > 0,
        "nothing says what happened": not any(WORDS.get(fault, "") in text for text in observed["says"]),
    }
    return [what for what, is_so in wrong.items() if is_so]
