"""What a study sets in its environment, and what it leaves to the user."""

from __future__ import annotations

from entrypoints import environment


def test_defaults_leave_what_the_user_has_set() -> None:
    """Two threads for a model that uses them, for instance."""
    given = {"OMP_NUM_THREADS": "2", "HOME": "/home/me"}
    environment.set_defaults(given)
    assert given["OMP_NUM_THREADS"] == "2"
    assert given["HOME"] == "/home/me"
    assert given["OPENBLAS_NUM_THREADS"] == "1"
    assert given["RAY_USAGE_STATS_ENABLED"] == "0"


def test_workers_get_threads_and_folder_and_no_secret() -> None:
    """What a cluster's workers are sent is written into its job's description, which others can read."""
    sent = environment.of_workers({"OMP_NUM_THREADS": "2", "RAY_AUTH_TOKEN": "secret", "MLFLOW_TRACKING_PASSWORD": "p"})
    assert sent == {
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "OMP_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
