"""The description of a registered version: what it is, what to expect of it, what it costs, and its limits."""

from pathlib import Path

from cases import cases, check_golden
from frames import study

from entrypoints.models.best_model import LoggedModel
from entrypoints.study.pages import described

GOLDEN = Path(__file__).parents[1] / "golden"
TEST = {"test": 0.66, "test_low": 0.61, "test_high": 0.71}
LIMITS = "training_time_s<=9x median after 50, served_p95_ms<=20"
MODEL = LoggedModel("m-1", {"best_val_rmse": 0.65, "refit_cpu_seconds": 1.2345, "served_p95_ms": 19.99})


@cases(
    "name, of_study, not_judged",
    {
        "under limits": ("version_under_limits", TEST | {"limits": LIMITS}, ["served_p95_ms<=20: a busy machine"]),
        "without limits or an interval": ("version", {}, []),
    },
)
def test_version_says_what_is_known_of_it(name, of_study, not_judged):
    """A line each; what is not known of a limit is said."""
    frame = study({"batch_size": [8, 64]}, {"training_time_s": lambda row: 1.0}, of_study=of_study)
    said = described(frame, {"algorithm": "linear", "batch_size": 8}, MODEL, not_judged)
    check_golden(GOLDEN / f"{name}.md", f"{said}\n")
