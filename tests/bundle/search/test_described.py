"""The description of a registered version."""

from frames import study

from entrypoints.models.best_model import LoggedModel
from entrypoints.search.pages import described

TEST = {"test": 0.66, "test_low": 0.61, "test_high": 0.71}


def test_version_says_what_it_is_what_to_expect_what_it_costs_and_which_limits_it_meets():
    """A line each; what is not known of a limit is said."""
    limits = "training_time_s<=9x median after 50, served_p95_ms<=20"
    frame = study({"batch_size": [8, 64]}, {"training_time_s": lambda row: 1.0}, of_study={"limits": limits, **TEST})
    model = LoggedModel("m-1", {"best_val_rmse": 0.65, "refit_cpu_seconds": 1.2345, "served_p95_ms": 19.99})
    busy = "served_p95_ms<=20: other programs had the cores"
    said = described(frame, {"algorithm": "linear", "batch_size": 8}, model, [busy])
    assert said.splitlines() == [
        "- algorithm=linear, batch_size=8, from [a study of tune red_wine]"
        "(#/experiments/0/runs/tune red_wine 0/overview?workflowType=machine_learning).",
        "- On other rows like these expect rmse 0.66 (0.61 to 0.71).",
        "- Costs: refit_cpu_seconds 1.23, served_p95_ms 20.",
        f"- Of its limits, `{limits}`, it meets all that are judged.",
        "- `training_time_s<=9x median after 50` was not applied: fewer than 50 trials have the figure.",
        f"- Not judged: {busy}.",
    ]


def test_version_of_a_study_without_limits_says_nothing_of_them():
    """Nor of rows to come where no interval is known."""
    said = described(
        study({"batch_size": [8, 64]}), {"batch_size": 8}, LoggedModel("m-1", {"refit_cpu_seconds": 1.0}), []
    )
    assert [line.partition(" ")[2].partition("=")[0].partition(":")[0] for line in said.splitlines()] == [
        "batch_size",
        "Costs",
    ]
