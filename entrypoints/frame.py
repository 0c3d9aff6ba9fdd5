"""Studies as tables: the one form that a finished search hands over, that a report reads, and that questions take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

# What a row of trials has besides its hyperparameters and its metrics.
ABOUT = (
    *("study", "trial_id", "run_id", "name", "place", "repeat", "status", "diverged", "converged", "feasible", "host"),
    *("stopped_by", "stop_how", "stop_reason", "stop_metric", "stop_step"),
)


@dataclass(frozen=True)
class Frame:
    """The studies that a question is about, the one that it is asked of first.

    Attributes:
        studies: one row a study, its run's id as the index: name, experiment_id, dataset, digest (of its table), key
            (equal for studies of equal configurations and training), criteria (the text of its limits, None for a full
            study), score (the metric that ranks, None where not known), higher_is_better, folds, rows (in the training
            part of a fold), seed, elapsed_s, model (the address of the logged model), model_run_id (the trial's that it
            is of) and own (whether the bundle made it). None where something is not known.
        trials: one row a trial, in the order of the studies and of their starts: the columns ``ABOUT``, one for each
            hyperparameter, one for each metric outside ``system/`` (its last value, NaN where the trial lacks it).
            ``place`` counts from 1 on; ``repeat`` is 0 for a configuration's first run; what is not known is None.
        folds: one row a trial and fold: study, trial_id, fold, and the metrics of that fold's model.
        curves: one row a point: study, trial_id, metric, axis (``step`` or ``seconds``), at, value. Empty where no
            question needs them.
        hyperparameters: the names of those that differ between trials, as they were searched. A column holds numbers
            where all its values are numbers, else texts.
    """

    studies: pd.DataFrame
    trials: pd.DataFrame
    folds: pd.DataFrame
    curves: pd.DataFrame
    hyperparameters: tuple[str, ...]

    @property
    def first(self) -> str:
        """The id of the study that is asked about."""
        return str(self.studies.index[0])

    @property
    def score(self) -> str | None:
        """The metric that ranks the trials of the first study; None where that is not known."""
        score = self.studies["score"].iloc[0]
        return None if score is None else str(score)

    @property
    def higher_is_better(self) -> bool:
        """Of the score."""
        return bool(self.studies["higher_is_better"].iloc[0])

    @property
    def metrics(self) -> list[str]:
        """The names of the columns of trials that are metrics."""
        return [name for name in self.trials if name not in ABOUT and name not in self.hyperparameters]

    def of(self, studies: Sequence[str]) -> Frame:
        """Only these studies, in this order; hyperparameters that no longer differ stay."""
        trials = pd.concat([self.trials[self.trials["study"] == study] for study in studies], ignore_index=True)
        folds, curves = (table[table["study"].isin(studies)] for table in (self.folds, self.curves))
        return replace(self, studies=self.studies.loc[list(studies)], trials=trials, folds=folds, curves=curves)

    @property
    def complete(self) -> pd.DataFrame:
        """The first study's trials that ran to their end without diverging, each configuration once, the best first.

        Of equal scores the cheapest in ``training_time_s`` comes first.
        """
        ended = self.ended
        once: pd.DataFrame = ended[ended["repeat"] == 0]
        keys = [name for name in (self.score, "training_time_s") if name in once]
        up = [not (name == self.score and self.higher_is_better) for name in keys]
        return once.sort_values(keys, ascending=up, kind="stable") if keys else once

    @property
    def ended(self) -> pd.DataFrame:
        """The first study's trials that ran to their end without diverging, repeated ones included."""
        trials = self.trials[self.trials["study"] == self.first]
        ended: pd.DataFrame = trials[(trials["status"] == "FINISHED") & ~trials["diverged"].astype(bool)]
        return ended
