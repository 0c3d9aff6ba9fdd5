"""Finalists: configurations that may become the result, refitted and served in the order of the study's choice.

The first whose model meets all limits on served models is the result; of a study without such limits the first.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mlflow.entities import Metric
from sklearn.dummy import DummyClassifier, DummyRegressor

from entrypoints.datasets.prepared import Prepared
from entrypoints.environment import users_own
from entrypoints.errors import UserError, say
from entrypoints.limits.costs import of_served
from entrypoints.models import best_model
from entrypoints.models.best_model import BestModel
from entrypoints.models.jackknife import Estimate
from entrypoints.models.trial_record import Trial
from entrypoints.runs import RecordedRun
from entrypoints.search.plan import Plan
from entrypoints.search.record import Record
from mlflow_sysmetrics.delivery import now_ms
from mlflow_sysmetrics.served import Judgement, ServedCosts, ServedError, judged, served_costs

if TYPE_CHECKING:
    from entrypoints.search.summary import Summary

MAX_FINALISTS = 5
_SECONDS = 5.0  # of requests, where no limit is judged by them
_MEMORY_NOISE, _NOISE = 0.01, 0.2  # as shares: what a second measurement of the same model may differ by, at most
_OF_CONSTANT = "a model that ignores all features"

Serve = Callable[..., ServedCosts]


@dataclass(frozen=True)
class Finalist:
    """A refitted model, with what it costs as served among its figures, and how it was judged by that."""

    model: BestModel
    judgement: Judgement


@dataclass(frozen=True)
class Finalists:
    """Chooses the result of a study after its search.

    Attributes:
        run: of the study.
        plan: what it does.
        data: what its trials were trained on.
        serve: measures the model in a folder.
    """

    run: RecordedRun
    plan: Plan
    data: Prepared
    serve: Serve = served_costs
    tried: dict[str, Finalist] = field(default_factory=dict, init=False)  # by the id of the trial

    def check_limits(self) -> None:
        """Check that a model can meet the limits: before a search, which takes longer.

        Raises:
            UserError: the cheapest of all models breaks one by more than noise, or cannot be served.
        """
        limits = of_served(self.plan.limits)
        say(f"Serving {_OF_CONSTANT}, to see whether any can meet {limits}")
        try:
            costs = self._served(self._constant())
        except ServedError as error:
            raise UserError(f"limits={limits}: no model can be served here ({error}); leave these limits out") from None
        for limit in limits.bounds:
            noise = _MEMORY_NOISE if limit.metric.name == "served_memory_mb" else _NOISE
            stop = limit.broken(costs.trusted, slack=noise * limit.number)
            if stop:
                raise UserError(
                    f"limits={limits}: no model can meet {limit}, since {_OF_CONSTANT} has {stop}; loosen this limit"
                )

    def choose(self, record: Record, decided: Callable[[], Summary]) -> Summary:
        """The study with its result: that of the first finalist that is known to meet the limits.

        If none is, that of the first of which it is not known. It has no result where all five break a limit.

        Args:
            record: of the trials. They are told what their models cost as served, and by that whether they meet limits.
            decided: the study, with the result that the record of its trials gives.
        """
        limits = of_served(self.plan.limits)
        if not limits.rules and not self.plan.settings.served:
            return decided()
        for _ in range(MAX_FINALISTS if limits.rules else 1):
            trial = decided().best
            if trial is None:
                break
            finalist = self._try(trial)
            is_within = not any(finalist.judgement)
            record.served[trial.trial_id] = is_within
            if is_within:
                break
        unknown = [trial_id for trial_id, finalist in self.tried.items() if not finalist.judgement.broken]
        for trial_id in unknown:
            if not record.served[trial_id]:
                del record.served[trial_id]
        study = decided()
        if study.best is None or not self.tried:
            return study
        if not unknown:
            return study.without_result()
        finalist = self.finalist(study.best)
        return replace(study, not_judged=tuple(finalist.judgement.unknown))

    def finalist(self, trial: Trial) -> Finalist:
        """The model of the trial whose configuration is the result."""
        if trial.trial_id not in self.tried:
            self.tried[trial.trial_id] = Finalist(self._refitted(trial), Judgement([], []))
        return self.tried[trial.trial_id]

    def _refitted(self, trial: Trial) -> BestModel:
        return best_model.refit(trial.configuration, self.data)

    def _try(self, trial: Trial) -> Finalist:
        """Refit and serve a configuration; the figures are those of its trial, too."""
        limits = of_served(self.plan.limits)
        model = self._refitted(trial)
        chosen = ", ".join(f"{name}={value}" for name, value in trial.configuration.searched.items())
        say(f"Serving {chosen}")
        judgement = Judgement([], [])
        try:
            costs = self._served(model)
        except ServedError as error:
            say(f"Warning: what it costs as served is not known: {error}")
            judgement.unknown.extend(f"{limit} cannot be judged: {error}" for limit in limits.bounds)
        else:
            judgement = judged(limits.bounds, costs)
            self._tell(trial, costs)
            model = replace(model, figures=model.figures | costs.trusted)
        for sentence in [*judgement.broken, *judgement.unknown]:
            say(f"  {sentence}")
        finalist = Finalist(model, judgement)
        self.tried[trial.trial_id] = finalist
        return finalist

    def _tell(self, trial: Trial, costs: ServedCosts) -> None:
        trial.figures = trial.figures | costs.trusted
        now = now_ms()
        points = [Metric(name, value, now, 0) for name, value in costs.trusted.items()]
        if trial.run_id:
            self.run.client.log_batch(trial.run_id, metrics=points)

    def _served(self, model: BestModel) -> ServedCosts:
        """What a model costs as served, by a server that sees the user's environment."""
        seconds = None if of_served(self.plan.limits).rules else _SECONDS
        with tempfile.TemporaryDirectory(prefix="finalist-", ignore_cleanup_errors=True) as folder:
            best_model.save(model, self.plan.table, folder)
            try:
                with users_own():
                    return self.serve(folder, max_seconds=seconds)
            except ServedError as error:
                raise ServedError(str(error).replace(folder, "the model")) from None

    def _constant(self) -> BestModel:
        """A model that ignores all features, in the form of all others."""
        data, train = self.data, self.data.split.train
        estimator = DummyClassifier() if data.n_classes else DummyRegressor()
        preprocessing = data.fit_preprocessing(train)
        y = data.y[train]
        estimator.fit(data.X[train], y if data.n_classes else preprocessing.scaling.transform_target(y))
        return BestModel(estimator, preprocessing, self.plan.score.validated, {}, {}, Estimate(math.nan))
