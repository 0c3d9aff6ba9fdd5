"""What became of an experiment's trials, for the run around them."""

from __future__ import annotations

from collections import Counter

from mlflow_sysmetrics.ray_tune.endings import SWEPT, Ending

_WORDS = {"FINISHED": "came to their end", "KILLED": "were stopped before", "FAILED": "failed"}
_AWAY_S = 1.0  # shorter ones are nobody's concern


class Outcome:
    """Counts of endings; the first error."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._error: str | None = None
        self._swept = 0

    def count(self, ending: Ending) -> None:
        """One more trial has ended so."""
        self._counts[ending.status] += 1
        self._swept += ending is SWEPT
        if ending.status == "FAILED" and self._error is None:
            self._error = ending.tags.get("sysmetrics.error")

    @property
    def status(self) -> str:
        """Of the experiment: ``KILLED`` if trials were still running when it ended."""
        return "KILLED" if self._swept else "FINISHED"

    @property
    def figures(self) -> dict[str, float]:
        """How many trials there were, and how many were stopped and failed."""
        return {
            "trials": float(self._counts.total()),
            "stopped": float(self._counts["KILLED"]),
            "failed": float(self._counts["FAILED"]),
        }

    def text(self, lost: int, refused: int, away_s: float = 0.0) -> str:
        """What happened, for the run's description.

        `lost` and `refused` points are not in MLflow, which took nothing for `away_s`.
        """
        parts = [f"{count} {_WORDS[status]}" for status, count in self._counts.items()]
        total = self._counts.total()
        sentences = [f"**{total} trial{'s' * (total != 1)}**: {', '.join(parts) or 'none began'}."]
        if self._swept:
            sentences.append(f"{self._swept} were still running when the experiment ended.")
        if self._error:
            sentences.append(f"The first error was `{self._error}`.")
        if away_s >= _AWAY_S:
            sentences.append(f"MLflow took no data for {away_s:.0f} s; what waited was written afterwards.")
        if lost:
            sentences.append(f"{lost} points could not be kept while MLflow was away and are missing.")
        if refused:
            sentences.append(f"MLflow refused {refused} entries; the log says which.")
        return " ".join(sentences)
