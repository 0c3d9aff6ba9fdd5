"""The faults of `tune_faults` in words, and what may not be left of a study after one."""

from __future__ import annotations

from observations import Observed

# By case: the fault, and what was done.
FAULTS = {
    "trial_is_killed": ("a trial's process is killed", "kill -9, in its third step; Tune gives the trial up"),
    "trial_is_killed_and_repeated": ("and Tune tries it again", "the same with max_failures=1, without a checkpoint"),
    "function_is_killed_and_repeated": ("the same of a function", "the same"),
    "trial_takes_too_much_memory": (
        "Ray kills a trial for memory",
        "one of three, in its third step, by Ray's monitor",
    ),
    "server_is_killed_and_restarted": ("the tracking server is killed", "kill -9; a new one after 6 s, in mid-study"),
    "disk_is_full": ("the store's disk is full", "not a byte left on the server's disk for 6 s, in mid-study"),
    "server_is_away_to_the_end": (
        "the server stays away",
        "kill -9; a new one after the study; mlflow-sysmetrics sync",
    ),
    "server_is_away_all_the_time": ("and no run has been created", "the same, before the first trial"),
    "nodes_lack_the_package": ("worker nodes lack the package", "two of three, with a trial each; nothing breaks"),
    # In this order: after the last there is a node less.
    "node_is_killed_and_comes_back": ("a worker node is killed", "with its trial; another starts under its address"),
    "node_announces_its_end": ("and had announced its end", "as a spot instance does; max_failures=0"),
    "node_is_killed": ("and does not come back", "one of three nodes, with its trial; max_failures=1"),
}
# What tags of the trials' runs say of it, where a trial was hit.
WORDS = {
    "trial_is_killed": "worker process has died",
    "trial_is_killed_and_repeated": "worker process has died",
    "function_is_killed_and_repeated": "worker process has died",
    "trial_takes_too_much_memory": "killed by Ray's memory monitor",
    "node_is_killed_and_comes_back": "The actor",
    "node_announces_its_end": "The actor",
    "node_is_killed": "The actor",
}


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
