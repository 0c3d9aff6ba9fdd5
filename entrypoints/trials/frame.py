"""Studies as tables: the one form that a finished search hands over, that a report reads, and that questions take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from entrypoints.runs.tags import AXIS, BY_RACE, DIVERGED, FEASIBLE, FOLD, NUMBER, ROLE, STOP_HOW
from mlflow_sysmetrics.recording import SYSTEM_FACTS
from mlflow_sysmetrics.recording.tags import HOST_PREFIX, STOP_METRIC, STOPPED_BY

Row = dict[str, Any]
Values = TypeVar("Values", "pd.Series[float]", pd.DataFrame)
# What a row of trials has besides its hyperparameters and its metrics.
ABOUT = (
    "study",
    "trial_id",
    "run_id",
    "name",
    "number",
    "role",
    "axis",
    "status",
    "diverged",
    "feasible",
    "host",
    "stopped_by",
    "stop_how",
    "stop_metric",
)
OF_STUDY = (
    "name",
    "experiment_id",
    "dataset",
    "digest",
    "key",
    "limits",
    "score",
    "higher_is_better",
    "baseline",
    "choose",
    "rate",
    "search",
    "seed",
    "planned",
    "model",
    "model_run_id",
    "command_cpu_seconds",
    "command_elapsed_s",
    "copies",
    "leak",
    "test",
    "test_low",
    "test_high",
    "no_interval",
    "gain",
    "gain_low",
    "gain_high",
    "gain_over_baseline",
    "gain_over_baseline_low",
    "gain_over_baseline_high",
    "predicted_classes",
    "algorithm",
)
REFERENCE = "reference"  # the role of a trial that the search is held against
FOREST, IGNORING = "forest with its defaults", "ignoring all features"  # what these are
OF_POINT = ("study", "trial_id", "metric", "at", "value")


@dataclass(frozen=True)
class Frame:
    """The studies that a question is about, the one that it is asked of first.

    Attributes:
        studies: one row a study, its run's id as the index: name, experiment_id, dataset, digest (of its table), key
            (equal for studies of equal rows and folds that train equal configurations alike), limits (the text of its
            limits, None for a full study), score (the metric that ranks), higher_is_better, baseline (on each fold the
            score of a model that
            ignores all features), choose (best or cheapest: of models that are equal within noise), rate (requests a
            second that served models are asked, None for one after the other), search (grid, random or tpe), seed,
            planned (its trials, if the time was enough), model (the address of the logged model), model_run_id (the
            trial's that it is of), command_cpu_seconds and command_elapsed_s (of the whole command,
            with starting and preparing), copies (the sentence of ``dataset_input.of_copies``, where copies of rows lie
            on both sides of the split), leak (the sentence of ``leaks.sentence``); test, test_low and test_high
            (the score of its model on the test part, and its interval), no_interval (why that is not known), gain,
            gain_low and gain_high (by how much it is better there than its library's defaults), gain_over_baseline,
            gain_over_baseline_low and gain_over_baseline_high (the same of a model that ignores all features),
            predicted_classes (how many classes it predicts there) and algorithm (where its trials share one). None
            where something is not known.
        trials: one row a trial, in the order of the studies and of their starts: the columns ``ABOUT``, one for each
            hyperparameter, one for each metric outside ``system/`` and ``fold/`` (its last value, NaN where the trial
            lacks it). ``role`` is empty; ``axis`` is what its steps count; ``number`` counts from 1 on; what is not
            known is None.
        folds: one row a trial and fold: study, trial_id, fold, and the metrics of that fold's model.
        curves: one row a point: study, trial_id, metric, at (the training step), value. Empty where no question needs
            them. Trials whose axis is the fold have none.
        importance: one row a column of a study's file: study, and the columns of ``importance.importance``.
        references: what the searches are held against: rows like those of trials, whose ``role`` is ``reference``.
        hyperparameters: the names of those that differ between trials, as they were searched. A column holds numbers
            where all its values are numbers, else texts.
    """

    studies: pd.DataFrame
    trials: pd.DataFrame
    folds: pd.DataFrame
    curves: pd.DataFrame
    hyperparameters: tuple[str, ...]
    importance: pd.DataFrame = field(default_factory=pd.DataFrame)
    references: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(ABOUT)))

    @property
    def first(self) -> str:
        """The id of the study that is asked about."""
        return str(self.studies.index[0])

    @property
    def score(self) -> str:
        """The metric that ranks the trials of the first study."""
        return str(self.studies["score"].iloc[0])

    @property
    def higher_is_better(self) -> bool:
        """Of the score."""
        return bool(self.studies["higher_is_better"].iloc[0])

    @property
    def sign(self) -> float:
        """By which the score is multiplied so that less is better."""
        return -1.0 if self.higher_is_better else 1.0

    @property
    def configurations(self) -> pd.Series[str]:
        """What each trial had chosen."""
        return configurations(self.trials, self.hyperparameters)

    @property
    def by_fold(self) -> list[str]:
        """The algorithms of the first study whose axis is the fold, where it has several."""
        if "algorithm" not in self.trials:
            return []
        trials = self.trials[(self.trials["study"] == self.first) & (self.trials["axis"] == FOLD)]
        return sorted(set(trials["algorithm"]))

    @property
    def metrics(self) -> list[str]:
        """The names of the columns of trials that are metrics."""
        return [str(name) for name in self.trials if name not in ABOUT and name not in self.hyperparameters]

    def of(self, studies: Sequence[str]) -> Frame:
        """Only these studies, in this order; hyperparameters that no longer differ stay."""
        trials = pd.concat([self.trials[self.trials["study"] == study] for study in studies], ignore_index=True)
        folds, curves = (table[table["study"].isin(studies)] for table in (self.folds, self.curves))
        references = self.references[self.references["study"].isin(studies)]
        return replace(
            self,
            studies=self.studies.loc[list(studies)],
            trials=trials,
            folds=folds,
            curves=curves,
            references=references,
        )

    @property
    def complete(self) -> pd.DataFrame:
        """The first study's trials with a score, which did not diverge, each configuration once, the best first.

        Of equal scores that with the least loss comes first, unless algorithms differ in what their loss is, then the
        cheapest in ``training_time_s``.
        """
        once: pd.DataFrame = self.ended.dropna(subset=[self.score])
        losses = ["val_loss"] if _have_one_loss(once.get("algorithm", ())) else []
        keys = [name for name in dict.fromkeys((self.score, *losses, "training_time_s")) if name in once]
        up = [not (name == self.score and self.higher_is_better) for name in keys]
        return once.sort_values(keys, ascending=up, kind="stable", key=to_ten_digits) if keys else once

    @property
    def is_raced(self) -> bool:
        """Whether racing has ended trials of the first study: the others were selected by their score."""
        trials = self.trials[self.trials["study"] == self.first]
        return bool((trials["stopped_by"] == BY_RACE).any())

    @property
    def ended(self) -> pd.DataFrame:
        """The first study's trials that ran to their end without diverging."""
        trials = self.trials[self.trials["study"] == self.first]
        ended: pd.DataFrame = trials[(trials["status"] == "FINISHED") & ~trials["diverged"].astype(bool)]
        return ended


def _have_one_loss(algorithms: Iterable[str]) -> bool:
    """Whether models of these algorithms have the same kind of loss: of svm, and of a user's own, it may be another."""
    names = set(algorithms)
    return len(names) < 2 or not any(name == "svm" or "." in name for name in names)


def to_ten_digits(values: Values) -> Values:
    """Equal models then have equal scores, in whatever order rows were added up."""
    rounded: Values = values.map(lambda value: float(f"{value:.9e}"))
    return rounded


def configurations(trials: pd.DataFrame, names: Sequence[str]) -> pd.Series[str]:
    """What each trial had chosen, as users write it, such as ``batch_size=8, alpha=0.1``, without what it lacks.

    Args:
        trials: rows of ``Frame.trials``.
        names: the hyperparameters that count.
    """
    texts = [
        ", ".join(f"{name}={level(value)}" for name, value in zip(names, row, strict=True) if not pd.isna(value))
        or "the only configuration"
        for row in trials[list(names)].to_numpy(object)
    ]
    return pd.Series(texts, trials.index, dtype=str)


def level(value: object) -> str:
    """A hyperparameter's value, as users write it."""
    return f"{value:.12g}" if isinstance(value, Real) and not isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class StudyRows:
    """A study that becomes a part of a frame.

    Attributes:
        study: the id of its run.
        about: what is known of the columns ``OF_STUDY``.
        trials: a row for each, in the order of their starts: what is known of the columns ``ABOUT`` but ``study``, the
            last value of each metric, and as ``params`` what it has chosen, and maybe what all trials share.
        searched: which of their params are hyperparameters if trials differ in them, in this order.
        folds: the rows of its folds, without the study.
        curves: the points of its curves.
        importance: the rows of ``Frame.importance``, without the study.
    """

    study: str
    about: Mapping[str, Any]
    trials: Sequence[Mapping[str, Any]]
    searched: Sequence[str]
    folds: Sequence[Mapping[str, Any]] = ()
    curves: Sequence[pd.DataFrame] = ()
    importance: Sequence[Mapping[str, Any]] = ()


def frame_of(studies: Sequence[StudyRows]) -> Frame:
    """One frame of these studies, which is asked of the first."""
    rows = [{**row, "study": each.study} for each in studies for row in each.trials]
    about = _table(rows, ABOUT).astype({"diverged": bool})
    params: pd.DataFrame = pd.DataFrame([row["params"] for row in rows], about.index, dtype=object)
    searched = dict.fromkeys(name for each in studies for name in each.searched if name in params and name not in ABOUT)
    is_reference = about["role"] != ""
    varied = [name for name in searched if params[name][~is_reference].map(str).nunique() > 1]
    scores = sorted({str(each.about["score"]) for each in studies})
    measured = dict.fromkeys([*(name for row in rows for name in row), *scores])  # no trial may have come so far
    # A name that has another meaning here already keeps that.
    metrics = _table(rows, [name for name in measured if name not in (*ABOUT, *varied, "params")]).astype(float)
    chosen: pd.DataFrame = pd.DataFrame({name: _column(params[name]) for name in varied}, index=about.index)
    trials = pd.concat([about, chosen, metrics], axis=1)
    of_studies = _table([{**each.about, "algorithm": _algorithm(each)} for each in studies], OF_STUDY)
    folds = [{"study": each.study, **fold} for each in studies for fold in each.folds]
    curves = [points for each in studies for points in each.curves]
    return Frame(
        of_studies.set_axis([each.study for each in studies]),
        trials[~is_reference].reset_index(drop=True),
        pd.DataFrame(folds or None, columns=None if folds else ["study", "trial_id", "fold"]),
        pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=list(OF_POINT)),
        tuple(varied),
        pd.DataFrame([{"study": each.study, **row} for each in studies for row in each.importance]),
        trials[is_reference].reset_index(drop=True),
    )


def trial_row(figures: Mapping[str, float], tags: Mapping[str, str], params: Mapping[str, Any], **about: Any) -> Row:
    """A trial in a frame, be it one that has just ended or one that was read.

    Args:
        figures: the last value of each metric outside ``system/`` and ``fold/``.
        tags: of its run, by which most of ``ABOUT`` is known.
        params: what it has chosen, and maybe what all trials share.
        about: what else is known of ``ABOUT``: trial_id, run_id, name, status.
    """
    number = tags.get(NUMBER)
    return {
        **figures,
        "number": None if number is None else int(number),
        "role": tags.get(ROLE, ""),
        "axis": tags.get(AXIS),
        "diverged": tags.get(DIVERGED) == "true",
        "feasible": {"true": True, "false": False}.get(tags.get(FEASIBLE, "")),
        "host": _host(tags),
        "stopped_by": tags.get(STOPPED_BY),
        "stop_how": tags.get(STOP_HOW),
        "stop_metric": tags.get(STOP_METRIC),
        **about,
        "params": params,
    }


def _host(tags: Mapping[str, str]) -> str | None:
    """The machine that the tags of a run name, in words; not its system, which an update changes. None: unknown."""
    facts = {name.removeprefix(HOST_PREFIX): tags[name] for name in sorted(tags) if name.startswith(HOST_PREFIX)}
    words = [_fact_in_words(fact, text) for fact, text in facts.items() if fact not in SYSTEM_FACTS]
    return ", ".join(words) or None


def _fact_in_words(fact: str, text: str) -> str:
    return text if fact == "cpu_model" else f"{fact} {text}"


def _algorithm(study: StudyRows) -> str | None:
    """That of all trials of a study; None where they have several, or do not say."""
    names = {trial["params"].get("algorithm") for trial in study.trials if not trial["role"]}
    return names.pop() if len(names) == 1 else None


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """These columns of some rows; None where a row has nothing."""
    cells = [[row.get(name) for name in columns] for row in rows]
    table: pd.DataFrame = pd.DataFrame(cells, columns=list(columns), dtype=object)
    return table


def _column(values: pd.Series[Any]) -> pd.Series[Any]:
    """The values of a hyperparameter as numbers where all their texts are, else as texts; NaN where one has none."""
    texts = values.dropna().map(str)
    numbers = pd.to_numeric(texts, errors="coerce")
    return (numbers if np.isfinite(numbers.astype(float)).all() else texts).reindex(values.index)
