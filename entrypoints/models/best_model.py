"""The study's result: the best configuration, scored on the test part and refitted on all rows, for raw rows."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import packages_distributions, version
from statistics import median
from typing import Any

import mlflow
import mlflow.sklearn
import numpy as np
from mlflow.models import ModelSignature, infer_signature
from mlflow.types.schema import AnyType, ColSpec, DataType, ParamSchema, ParamSpec, Schema

from entrypoints.compute import memory, own_modules
from entrypoints.datasets import splits, sysmetrics_rows
from entrypoints.datasets.prepared import Prepared
from entrypoints.datasets.sysmetrics_rows import PREDICT, PREDICT_METHOD, Preprocessing, RawRows
from entrypoints.datasets.tables import Table
from entrypoints.errors import UserError, say
from entrypoints.models.algorithms import CONSTANT
from entrypoints.models.configuration import Configuration
from entrypoints.models.cross_validation import training_on
from entrypoints.models.estimators import Estimator, estimator
from entrypoints.models.fold import Fold
from entrypoints.models.learners import SGD
from entrypoints.models.losses import Array, predicted_classes
from entrypoints.models.trained import FEW_ROWS, Model
from entrypoints.runs.recorded import RecordedRun
from entrypoints.statistics import Estimate, Rows, blocks_of, jackknife

Figures = dict[str, float]

MODEL_NAME = "model"
REQUIREMENTS = ("scikit-learn", "numpy", "scipy", "pandas")
LATENCY_S = 1.0  # in which rows are timed: one of thousands of columns takes long
MIN_ROWS = 5  # that are timed even if they take longer
IN_TIME = "rows in time depend on each other, and later ones may be of another kind"

# The best trial has measured these for its bare estimators, which the logged model wraps; the study's run holds them.
OF_TRIAL = ("inference_latency_ms", "inference_p99_ms", "rows_per_s", "model_size_kb", "model_memory_mb")


@dataclass(frozen=True)
class BestModel:
    """An estimator trained on all rows, the preprocessing of its rows and target, its score, and what it cost.

    Of classes it predicts the places in ``Table.classes``. ``ranked_by`` is the metric of its trial that chose it.
    ``tested`` is the same trained on the training part alone, and ``test`` the score of that on the test part, with
    what its rows leave open.
    """

    estimator: Any
    preprocessing: Preprocessing
    ranked_by: str
    figures: Figures
    searched: Mapping[str, Any]  # its hyperparameters
    test: Estimate
    tested: Model | None = None


@dataclass(frozen=True)
class LoggedModel:
    """A best model in MLflow, by its id, its own score and costs, which are logged with it."""

    model_id: str
    figures: Figures

    @property
    def uri(self) -> str:
        """The address by which MLflow loads, serves and registers it."""
        return f"models:/{self.model_id}"


def refit(configuration: Configuration, data: Prepared) -> BestModel:
    """Train a configuration on the training part, score it once on the test part, and train it again on all rows.

    Its figures are what the training on all rows cost, those scores, and ``test_<score>_low`` and ``_high``, the
    interval of that score on other rows. ``gain_<score>`` says by how much it is better on the test part than the
    library's own defaults, for algorithms that have some, and ``gain_over_baseline_<score>`` than a model that ignores
    all features, each with ``_low`` and ``_high``. There is no interval where rows do not tell one. For classes
    ``test_predicted_classes`` counts those that it predicts on the test part.

    Raises:
        UserError: it diverges there, as it did on no fold.
    """
    train, held_out = data.split.train, data.split.test
    tested, _ = _trained(configuration, data, train)
    score = tested.score
    outputs = tested.outputs(held_out)
    test = _on_test_part(data, lambda kept: tested.scored(outputs[kept], held_out[kept]))
    figures = tested.evaluated("test", held_out) | ends(f"test_{score.name}", test, score.bounded)
    for name, other in _others(configuration, tested).items():
        gain = _gain(tested, outputs, other)
        figures[f"{name}_{score.name}"] = gain.value
        figures |= ends(f"{name}_{score.name}", gain)
    if data.n_classes:
        figures["test_predicted_classes"] = len(np.unique(predicted_classes(outputs)))
    # After the other one, so that one-off costs of a process (late imports, library buffers) do not count.
    model, costs = _trained(configuration, data, np.r_[train, held_out])
    return BestModel(
        model.learner.estimator,
        model.preprocessing,
        score.validated,
        figures | costs,
        configuration.searched,
        test,
        tested,
    )


def ends(name: str, estimate: Estimate, bounded: Callable[[float], float] = float) -> Figures:
    """``<name>_low`` and ``_high``; nothing where there is no interval."""
    if estimate.why_unknown:
        return {}
    return {f"{name}_low": bounded(estimate.low), f"{name}_high": bounded(estimate.high)}


def _on_test_part(data: Prepared, score: Callable[[Rows], float]) -> Estimate:
    """A score of all rows of the test part, by their places there, and how far other rows may move it."""
    rows = data.split.test
    if data.split.folds.in_time:
        return Estimate(score(np.arange(len(rows))), why_unknown=IN_TIME)
    groups = data.split.groups
    return jackknife(score, blocks_of(np.arange(len(rows)) if groups is None else groups[rows]))


def _gain(model: Model, outputs: Array, other: Model) -> Estimate:
    """By how much a model with these outputs is better on the test part than another one."""
    rows = model.data.split.test
    of_other = other.outputs(rows)
    sign = 1.0 if model.score.higher_is_better else -1.0

    def gain(kept: Rows) -> float:
        return sign * (model.scored(outputs[kept], rows[kept]) - other.scored(of_other[kept], rows[kept]))

    return _on_test_part(model.data, gain)


def _others(configuration: Configuration, model: Model) -> dict[str, Model]:
    """What a model is compared with on the test part, trained as it was, by the name of the gain."""
    data, seed = model.data, configuration.seed
    found = {"gain_over_baseline": estimator(CONSTANT[data.task])}
    algorithm = configuration.find_algorithm(data.task)
    is_tuned = len(configuration.searched) > 1  # beside the algorithm
    if is_tuned and not data.split.folds.in_time and not isinstance(algorithm, SGD):
        found["gain"] = algorithm
    fitted = {name: _by_default(algorithm, model, seed) for name, algorithm in found.items()}
    return {name: other for name, other in fitted.items() if other is not None}


def _by_default(algorithm: Estimator, model: Model, seed: int) -> Model | None:
    """An algorithm with its library's defaults, trained as a model was; None where it cannot be trained."""
    learner = algorithm.untuned(model.data.n_classes, seed)
    if learner is None:
        return None
    other = model._replace(learner=learner)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as that a network has not converged
        try:
            learner.step(*other.part(model.data.split.train))
        except Exception:  # the study has its result all the same
            return None
    return other


def _trained(configuration: Configuration, data: Prepared, rows: splits.Rows) -> tuple[Model, Figures]:
    """A model trained on these rows, as a trial does on a fold's, and what it cost.

    That is ``refit_training_time_s``, ``_cpu_seconds`` and, where the OS tells, ``_memory_growth_mb``. UserError: it
    diverges.
    """
    fold = Fold(configuration, data, len(data.split.folds), rows, data.split.test, data.fit_preprocessing(rows))
    training = training_on([fold], configuration, len(rows))
    costs: Figures = {}

    def train() -> None:
        began_s = time.process_time()
        while not training.ended:
            training.advance()
        costs["refit_cpu_seconds"] = time.process_time() - began_s
        costs["refit_training_time_s"] = training.training_time_s

    raised = memory.raised(train)
    if training.overflowed:
        chosen = ", ".join(f"{name}={value}" for name, value in configuration.searched.items())
        raise UserError(
            f"{chosen}: the best trial's model diverges when it is trained on more rows than a fold has; leave these "
            "values out"
        )
    if raised is not None:
        costs["refit_memory_growth_mb"] = raised.peak_mb
    return fold.model, costs


def log(
    run: RecordedRun, best: BestModel, table: Table, trial: Figures, shared: Mapping[str, Any] | None = None
) -> LoggedModel:
    """Log the model with signature and input example: ``mlflow.pyfunc.load_model`` serves it by its address.

    Its hyperparameters are the model's params, and its score and costs are metrics of the model and of the study's run,
    which also has what its trial measured of inference, size and memory.

    Args:
        run: the study's, which is open.
        best: the model.
        table: what it was trained on.
        trial: figures of the trial that chose it.
        shared: further params, such as the dataset, that tell models of several studies apart.
    """
    model = raw_rows_model(best, table)
    chosen_by = {f"best_{best.ranked_by}": trial[best.ranked_by]}
    figures = chosen_by | best.figures | {"refit_latency_ms": latency_ms(model, table)}
    params = {name: str(value) for name, value in {**best.searched, **(shared or {})}.items()}
    # Made here: log_model would give it the params of the run, where `algorithm` may be `auto`.
    model_id = str(
        run.client.create_logged_model(run.experiment_id, MODEL_NAME, source_run_id=run.run_id, params=params).model_id
    )
    # Metrics that the run has at the model's step become the model's own; those of the study stand at step 0.
    _store(partial(mlflow.sklearn.log_model, model_id=model_id, step=1), model, table)
    finite = {name: value for name, value in figures.items() if math.isfinite(value)}
    mlflow.log_metrics(finite, step=0, model_id=model_id)
    mlflow.log_metrics({name: trial[name] for name in OF_TRIAL if name in trial}, step=0)
    return LoggedModel(model_id, figures)


def with_figures(model: LoggedModel, figures: Figures) -> LoggedModel:
    """A logged model with further metrics, which the study's run has, too. That run is open."""
    mlflow.log_metrics(figures, step=0, model_id=model.model_id)
    return replace(model, figures=model.figures | figures)


def latency_ms(model: RawRows, table: Table, clock: Callable[[], float] = time.perf_counter) -> float:
    """The median time to predict one row of a frame, over 50 rows or as many as fit in a second, at least five."""
    times_s: list[float] = []
    began = clock()
    for row in range(FEW_ROWS):
        frame = table.examples.iloc[[row % len(table.examples)]]
        started = clock()
        model.predict(frame)
        ended = clock()
        times_s.append(ended - started)
        if ended - began >= LATENCY_S and len(times_s) >= MIN_ROWS:
            break
    return 1e3 * median(times_s)


def save(best: BestModel, table: Table, folder: str) -> None:
    """Leave the same model in a folder, which is empty."""
    _store(partial(mlflow.sklearn.save_model, path=folder), raw_rows_model(best, table), table)


def _store(write: Callable[..., object], model: RawRows, table: Table) -> None:
    """Store the model's files by one of MLflow's functions."""
    example = table.examples.head(5)
    module = type(model.estimator).__module__.partition(".")[0]
    packages = packages_distributions().get(module, [])
    storage = _storage(model)
    required = dict.fromkeys([*REQUIREMENTS, storage["serialization_format"], *packages])
    own = [] if packages else own_modules.sources(f"{module}.")  # modules that belong to no package go with the model
    with own_modules.python_files(own) as copies:
        write(
            model,
            signature=_signature(table, model.predict(example)),
            input_example=example,
            # Of a model of this flavor, whose predict_proba MLflow's own evaluation uses, only this method gets params.
            pyfunc_predict_fn="score",
            # Named here: inferring them starts a process that loads the model, which takes longer than the refit.
            pip_requirements=[f"{name}=={version(name)}" for name in required],
            code_paths=[sysmetrics_rows.__file__, *copies],
            **storage,
        )


def raw_rows_model(best: BestModel, table: Table) -> RawRows:
    """The best model for rows as they are in the user's file, with the classes as they are there."""
    categories = {name: _codes(of_column) for name, of_column in table.categories.items()}
    of_new_rows = tuple((i, values[:1]) for i, values in best.preprocessing.target_encoded)
    # A number may be missing in the rows to predict alone.
    preprocessing = replace(best.preprocessing, has_missing=True, target_encoded=of_new_rows)
    classes = dict(enumerate(table.class_names))
    return RawRows(best.estimator, preprocessing, list(table.columns), categories, classes)


def _codes(categories: tuple[str, ...]) -> dict[str, float]:
    """The code of each category, as text; of truth values also that of 1 and 0, by which some programs send them."""
    codes = {text: float(code) for code, text in enumerate(categories)}
    if codes.keys() == {"False", "True"}:
        codes |= {"0": codes["False"], "1": codes["True"]}
    return codes


def _signature(table: Table, predicted: Any) -> ModelSignature:
    """Columns of any type, since a typed one refuses what pandas makes of another part of the same file.

    For a column of whole numbers pandas takes integers, or floats if one is missing; MLflow converts neither into the
    other, and nothing into text. None is required here: the model itself says in one sentence which are missing, where
    MLflow's error repeats all rows and columns.
    """
    anything: Any = AnyType
    inputs = [ColSpec(anything(), column.name, required=False) for column in table.columns]
    params: Any = ParamSchema([ParamSpec(PREDICT_METHOD, DataType.string, PREDICT)]) if table.classes else None
    return ModelSignature(Schema([*inputs]), infer_signature(None, predicted).outputs, params)


def _storage(model: RawRows) -> dict[str, Any]:
    """How MLflow is to store a model: with skops, which runs no code that a file holds, or else pickled."""
    trusted = _trusted_types(model)
    if trusted is not None:
        return {"serialization_format": "skops", "skops_trusted_types": trusted}
    say("The model is stored with cloudpickle: skops, whose files run no code, cannot hold it")
    return {"serialization_format": "cloudpickle"}


def _trusted_types(thing: Any) -> list[str] | None:
    """The types that skops does not know of what it stores: safe all the same, made here. None: it cannot store it."""
    import skops.io  # takes most of a second, for which no study's first trial need wait

    try:
        stored = skops.io.dumps(thing)
        trusted: list[str] = skops.io.get_untrusted_types(data=stored)
        skops.io.loads(stored, trusted=trusted)
    except Exception:  # an estimator of the user's can hold anything
        return None
    return trusted
