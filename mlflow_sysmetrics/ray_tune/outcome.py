"""How the trials of an experiment ended, for the run around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from mlflow_sysmetrics.ranks import COUNTS
from mlflow_sysmetrics.ray_tune.endings import SWEPT, Ending
from mlflow_sysmetrics.tags import ERROR

_WORDS = {"FINISHED": "came to an end", "KILLED": "stopped before", "FAILED": "failed"}
_AWAY_S = 1.0  # shorter ones are nobody's concern


class Tally:
    """How each trial ended, and what else happened.

    Args:
        earlier: of an experiment that goes on: its trials, with their endings if they had ended.
        restarts: how often one of them had begun again.
    """

    def __init__(self, earlier: Mapping[str, Ending | None], restarts: int = 0) -> None:
        self._goes_on = bool(earlier)
        self._endings = {trial_id: ending for trial_id, ending in earlier.items() if ending is not None}
        self._restarts = restarts

    def end(self, trial_id: str, ending: Ending) -> None:
        """Note how a trial has ended, in place of an earlier end."""
        self._endings[trial_id] = ending

    def has(self, trial_id: str) -> bool:
        """Whether this trial has ended."""
        return trial_id in self._endings

    def restart(self) -> None:
        """A trial has failed and begins again."""
        self._restarts += 1

    @property
    def status(self) -> str:
        """Of the experiment: ``KILLED`` if trials were still running when it ended."""
        return "KILLED" if self._swept else "FINISHED"

    @property
    def figures(self) -> dict[str, float]:
        """How many trials there were, how many were stopped and failed, and how often one began again."""
        counts = self._counts
        values = counts.total(), counts["KILLED"], counts["FAILED"], self._restarts
        return dict(zip(COUNTS, map(float, values), strict=True))

    def text(self, lost: int, refused: int, away_s: float = 0.0, *, left: bool = False) -> str:
        """What happened, for the run's description.

        `lost` and `refused` points are not in MLflow, which took nothing for `away_s`. `left`: nor in the end, so that
        what waited is written later.
        """
        parts = [f"{count} {_WORDS[status]}" for status, count in self._counts.items()]
        total = self._counts.total()
        sentences = [f"**{total} trial{'s' * (total != 1)}**: {', '.join(parts) or 'none began'}."]
        if self._goes_on:
            sentences.append("The experiment was interrupted and went on.")
        if self._swept:
            sentences.append(f"Still running when the experiment ended: {self._swept}.")
        if self._restarts:
            sentences.append(f"Attempts that failed and were repeated: {self._restarts}.")
        if (error := self._first_error) is not None:
            sentences.append(f"The first error was `{error}`.")
        if left or away_s >= _AWAY_S:
            late = ", and none at the end; `mlflow-sysmetrics sync` wrote" if left else "; afterwards MLflow took"
            sentences.append(f"MLflow took no data for {away_s:.0f} s{late} what waited.")
        if lost:
            sentences.append(f"{lost} points could not be kept while MLflow was away and are missing.")
        if refused:
            sentences.append(f"MLflow refused {refused} entries; the log says which.")
        return " ".join(sentences)

    @property
    def _counts(self) -> Counter[str]:
        return Counter(ending.status for ending in self._endings.values())

    @property
    def _swept(self) -> int:
        return sum(ending is SWEPT for ending in self._endings.values())

    @property
    def _first_error(self) -> str | None:
        return next((ending.tags.get(ERROR) for ending in self._endings.values() if ending.status == "FAILED"), None)
