"""The defects of Ray's MLflow callback: which of `tune_defects`' observations show them, and in what words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from observations import Observations, Observed, observe

STOCK = "ray.air.integrations.mlflow.MLflowLoggerCallback"
OURS = "mlflow_sysmetrics.ray_tune.SystemMetricsCallback"


@dataclass(frozen=True)
class Defect:
    """One row. `faults` says, of what a case observed, which parts of the defect it shows."""

    number: int
    title: str
    cases: tuple[str, ...]
    faults: Callable[..., dict[str, bool]]

    def shown(self, observations: Observations) -> list[str]:
        """The parts of the defect that are there; a case that could not be observed is one, too."""
        observed = [observations[case] for case in self.cases]
        broken = [str(each["broken"]) for each in observed if "broken" in each]
        return broken or [part for part, is_there in self.faults(*observed).items() if is_there]

    def parts(self, observations: Observations) -> int:
        """How many parts it has."""
        return len(self.faults(*(observations[case] for case in self.cases)))

    def words(self, observations: Observations) -> str:
        """What was observed, in one line."""
        pairs = [pair for case in self.cases for pair in observations[case].items() if pair[0] != "seconds"]
        return "; ".join(f"{name}: {_short(value)}" for name, value in pairs)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{number} {name}" for name, number in value.items()) or "no runs"
    if isinstance(value, list):
        return ", ".join(f"({_short(each)})" if isinstance(each, list) else _short(each) for each in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)


def _left_running(endings: Observed) -> dict[str, bool]:
    return {way: bool(statuses.get("RUNNING")) or not statuses for way, statuses in endings.items() if way != "seconds"}


def _setup(sweep: Observed) -> dict[str, bool]:
    whole = sweep["trials"] == ["FAILED", "FINISHED", "FINISHED"]
    return {"the sweep ends": sweep["error"] is not None, "trials are missing": not whole}


def _tracking_error(away: Observed, refused: Observed) -> dict[str, bool]:
    return {
        "the server's absence ends the sweep": away["error"] is not None,
        "results are lost": away["losses"] != [8, 8],
        "a name that is refused ends the sweep": refused["error"] is not None,
        "results beside the name are lost": refused["losses"] != [3, 3],
    }


def _parents(found: Observed) -> dict[str, bool]:
    alone = (found["alone"], found["parents alone"]) == (2, 1)
    return {"not under the active run": found["active"] != 2, "no run for the study": not alone}


def _wrong_place(experiment: Observed, run: Observed) -> dict[str, bool]:
    return {
        "into the inherited experiment": experiment != experiment | {"given": 1, "inherited": 0},
        "into the inherited run": run["error"] is not None or run["written into the driver's run"] != [False],
    }


def _not_reported(metrics: Observed) -> dict[str, bool]:
    number, config = metrics["trial_id"] is not None, metrics["config"]
    return {
        "bookkeeping": metrics["others"] > config + number,
        "config": config > 0,
        "a number made of the trial's id": number,
    }


def _duplicates(restored: Observed) -> dict[str, bool]:
    whole = restored["error"] is None and restored["trials"] == ["FINISHED", "FINISHED"]
    return {"more runs than trials": not whole, "cut curves": restored["steps"] != [[1, 2, 3, 4, 5, 6]] * 2}


def _not_finite(stored: Observed) -> dict[str, bool]:
    losses = stored["losses"]
    return {
        "NaN is stored": any(math.isnan(loss) for loss in losses),
        "infinity is stored, as a finite number": any(loss > 1e308 for loss in losses),
        "no tag says so": stored["tag"] is None or 1.0 not in losses,
    }


def _perturbed(sweep: Observed) -> dict[str, bool]:
    whole = sweep["error"] is None and sweep["trials"] == ["FINISHED", "FINISHED"]
    return {
        "the sweep ends": not whole,
        "the change is not recorded": "7" not in sweep["changed"] or not sweep["rates"],
    }


DEFECTS = (
    Defect(1, "runs left RUNNING after a time budget, stop-all, fail-fast, Ctrl-C", ("endings",), _left_running),
    Defect(2, "one trial failing in `setup` ends the sweep", ("setup_failure",), _setup),
    Defect(3, "any tracking error ends the sweep", ("server_away", "refused_name"), _tracking_error),
    Defect(4, "no parent and child runs", ("parents",), _parents),
    Defect(
        *(5, "an inherited MLFLOW_EXPERIMENT_ID or MLFLOW_RUN_ID sends runs to the wrong place"),
        *(("inherited_experiment", "inherited_run"), _wrong_place),
    ),
    Defect(
        *(6, "`tracking_uri=None` resets the driver's", ("driver_uri",)),
        lambda uri: {"reset": not uri["kept"], "runs elsewhere": uri["trials there"] != 1},
    ),
    Defect(
        *(7, "one transaction per metric and more", ("transactions",)),
        lambda made: {"many transactions": made["transactions"] > made["values"] / 2},
    ),
    Defect(
        *(8, "Ray's bookkeeping, `config/*` and a trial's id logged as metrics", ("bookkeeping",), _not_reported),
    ),
    Defect(9, "`Tuner.restore` makes duplicate runs", ("restored",), _duplicates),
    Defect(10, "NaN and infinity are stored", ("not_finite",), _not_finite),
    Defect(11, "parameters that PBT changes raise", ("perturbed",), _perturbed),
    Defect(
        *(12, "no user or source tags", ("identity",)),
        lambda tags: {name: not tags[name] for name in tags if name != "seconds"},
    ),
    Defect(
        *(13, "an early-stopped trial looks like a finished one", ("early_stopped",)),
        lambda runs: {"the same status": runs["stopped"] != "KILLED", "no reason": not runs["reason"]},
    ),
)


def observe_all(callback: str, empty_store: Path) -> Observations:
    """Run all cases with a callback."""
    return observe("tune_defects.py", callback, str(empty_store))
