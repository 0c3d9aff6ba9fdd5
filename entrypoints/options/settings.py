"""What a study searches, and what its trials may cost: each field is an option of a command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from entrypoints.options import search_space
from entrypoints.options.kinds import (
    ALL,
    AUTO,
    DATASET,
    DATASETS,
    LENGTH,
    MODEL_NAME,
    NAMED_DATASETS,
    NONE,
    RUN_ID,
    RUN_IDS,
    SPACE,
    above_0,
    add_options,
    between,
    one_of,
    option,
    spec,
    text,
    whole,
)
from entrypoints.options.length import DEFAULT_LENGTH, Length

FOLDS = 10
AUTO_NUMBER = 0  # stands for ``auto`` where None has another meaning
BEST, CHEAPEST = "best", "cheapest"  # which of the models that are equal within noise a study chooses
DEFAULT_LIMITS = "training_time_s<=1.5x median, model_memory_mb<=1.5x median"
SHARED = ("dataset", "target", "max_rows", "folds", "seed", "length")
_OWN = "the path of a CSV or Parquet file, or of a folder of Parquet files"
_DATASETS = f"{', '.join(NAMED_DATASETS)}, openml:<id>, or {_OWN}"


@dataclass(frozen=True)
class StudySettings:
    """What a study searches, and how.

    None is the dataset's own target, ``all`` rows and cores, no limits on time or costs, ``keep`` of duplicates, and of
    the others what ``auto`` stands for.
    """

    dataset: str = option("red_wine", DATASET, f"The dataset: {_DATASETS}.")
    target: str | None = option(
        AUTO, text("COLUMN", auto=None), "The column to predict. auto: the dataset's own; required for a file."
    )
    drop: str | None = option(
        NONE, text("COLUMNS", none=None), "Columns to leave out as features, separated by commas."
    )
    decimal: str | None = option(
        AUTO,
        one_of(".", ",", auto=None),
        "The decimal mark of text such as 18,000 that could be 18000 or 18. auto: as in the other columns.",
    )
    max_rows: int | None = option(ALL, whole(1, all=None), "Rows to sample at random.")
    search_rows: int | None = option(
        AUTO,
        whole(100, all=None, auto=AUTO_NUMBER),
        "Rows of the training part that the search trains on; the refit of the best model has all. auto: all, unless "
        "too few trials would end within time_limit_s.",
    )
    folds: int = option(
        AUTO,
        whole(2, auto=AUTO_NUMBER),
        "Cross-validation folds of the training part. auto: 10, or fewer where too few trials would end within "
        "time_limit_s.",
    )
    group: str | None = option(
        NONE,
        text("COLUMN", none=None),
        "A column such as a patient's number: rows of one value stay together in the training or test part, and in one "
        "fold. It is not a feature.",
    )
    time: str | None = option(
        NONE,
        text("COLUMN", none=None),
        "A column of dates or numbers: the test part is the latest rows, and each fold is predicted from earlier ones.",
    )
    duplicates: str | None = option(
        AUTO,
        one_of("together", keep=None, auto=AUTO),
        "together: exact copies of a row, target included, stay in one part and one fold. keep: they are split like "
        "other rows. auto: together where more than 1 % of the rows of your own table are copies, more than by chance, "
        "and neither group nor time is given; else keep.",
    )
    seed: int = option("0", whole(0), "Fixes the split, the folds, and the order of batches and trials.")
    algorithm: str = option(
        AUTO,
        text("NAMES"),
        "linear or ridge (regression), logistic, svm or logistic_regression (classification), "
        "mlp, forest, extra_trees, boosting, xgboost, lightgbm, catboost, "
        "the import path of any scikit-learn classifier or regressor, such as sklearn.svm.SVC, or several separated by "
        "commas. auto: linear, or logistic and svm, for the four named datasets; for any other table ridge or "
        "logistic_regression, extra_trees, and catboost and lightgbm if they are installed, else boosting.",
    )
    space: search_space.Space = option(
        AUTO,
        SPACE,
        "The values to try, as YAML or JSON or the path of such a file: {batch_size: [8, 64], forest: {max_depth: [4, "
        "8]}}. A name is for each algorithm that takes it, or under an algorithm's name for that one alone. linear, "
        "logistic and svm take batch_size, learning_rate, alpha and, of classes, class_weight: [null, balanced]; "
        "the others what the constructor takes, and with partial_fit batch_size. What is left out keeps its "
        "default. search=tpe also draws from {uniform: [0, 1]}, {loguniform: [1e-5, 0.1]} or "
        "{integers: [2, 64]}. auto: all defaults.",
    )
    metric: str | None = option(
        AUTO,
        text("NAME", auto=None),
        "The score that ranks models, by the name of a scikit-learn scorer: roc_auc, average_precision, f1_macro, "
        "neg_mean_absolute_error .. auto: RMSE, or the accuracy of classes; where over 80 % of the rows of a table of "
        "your own are of one class, neg_log_loss.",
    )
    positive: str | None = option(
        AUTO,
        text("CLASS", auto=None),
        "Of two classes the one that average_precision, f1, precision, recall .. are of. auto: the rarer one.",
    )
    choose: str = option(
        BEST,
        one_of(BEST, CHEAPEST),
        "Which model is the result. best: that with the best score, of equal scores the least loss; cheapest: of those "
        "as good within noise the one with the lowest cost, in the first limit's metric or training_time_s.",
    )
    limits: str | None = option(
        NONE,
        text("LIMITS", none=None, auto=DEFAULT_LIMITS),
        "Limits, separated by commas: peak_memory_mb<=300, mean_step_time_ms<=2, training_time_s<=2x median (of the "
        "study's trials), mean_cpu_percent>=50, or served_p95_ms<=20 (of the model as MLflow serves it). "
        f"auto: {DEFAULT_LIMITS}. none: every trial runs to its end.",
    )
    served: bool = option(
        "on",
        one_of(on=True, none=False),
        "on: serve the model of the result at the end, for its latency and memory as an application meets them; 10 s. "
        "none: leave that out, unless a limit is on a served_.. figure.",
    )
    rate: float | None = option(
        NONE,
        between(0.1, 10_000, none=None),
        "Requests a second of your application, which the served models are asked; one that cannot keep up breaks "
        "every limit on its latency. none: each request waits for the answer to the one before.",
    )
    search: str = option(
        AUTO,
        one_of("grid", "tpe", auto=AUTO),
        "grid: every combination of the values; tpe: first a list of what is good on many tables, then what looks "
        "best by the trials so far, also from distributions. "
        f"auto: grid of {', '.join(NAMED_DATASETS)}, tpe of any other table.",
    )
    race: bool = option(
        "on",
        one_of(on=True, off=False),
        "With search=tpe. on: stop a trial as soon as it cannot win. off: run every trial to its end.",
    )
    max_trials: int | None = option(
        AUTO,
        whole(1, auto=None),
        "Maximum number of configurations, of a grid chosen at random. auto: the whole grid, or with search=tpe 100, "
        "and fewer if 30 suggestions of TPE in a row were no better than the best one before.",
    )
    length: Length = option(
        AUTO,
        LENGTH,
        f"How long a trial on batches trains: '10 epochs' (passes over the training rows) or '500 steps'. auto: "
        f"{DEFAULT_LENGTH.epochs:g} epochs, but at most {DEFAULT_LENGTH.steps:g} steps.",
    )
    time_limit_s: float | None = option(
        AUTO,
        above_0(none=None, auto=AUTO_NUMBER),
        "Maximum seconds for the command: its start, the search, and the result, which is trained on all rows, logged "
        "and served. At least a third are the search's; the best trial finished by then is the result. auto: 300 with "
        "search=tpe on a table of your own, else none.",
    )
    cpus: int | None = option(
        ALL, whole(1, all=None), "CPU cores, one trial on each. all: those that this process may use."
    )
    ray_address: str = option(
        "local",
        text("ADDRESS"),
        "The Ray cluster to run on, auto or host:port; start the study on one of its nodes. local: the cluster in the "
        "environment variable RAY_ADDRESS, or else this machine.",
    )
    register: str | None = option(
        NONE,
        MODEL_NAME,
        "Register the best model under this name in MLflow's model registry, as its newest version, with the alias "
        "candidate and its score and costs as tags.",
    )

    @property
    def entry_point(self) -> str:
        """Of MLproject, for a study with such limits or without."""
        return "tune" if self.limits is None else "early_stop"

    @property
    def shared(self) -> dict[str, str]:
        """What the run of every trial says of its study."""
        return as_typed({name: getattr(self, name) for name in SHARED})


_OF_STUDY = {each.name: each.metadata for each in fields(StudySettings)}
OF_DATA = ("dataset", "target", "drop", "decimal", "max_rows", "folds", "group", "time", "duplicates", "seed")
_RESUME = spec(
    NONE,
    RUN_ID,
    "The run id of an interrupted study to continue. Finished trials are skipped; settings come from that study, "
    "except cpus, time_limit_s, ray_address and, if given, register. none: a new study.",
)
_OF_REPORT = {
    "dataset": spec(
        "red_wine",
        DATASET,
        "Report on the newest studies of this dataset, named as for tune; not used if study is given.",
    ),
    "target": spec(
        AUTO, text("COLUMN", auto=None), "Only studies that predict this column; not used if study is given. auto: any."
    ),
    "study": spec(
        AUTO,
        RUN_IDS,
        "Run ids of finished studies, separated by commas: one full study of a dataset and those under limits; or one "
        "full study of each of several datasets. auto: the dataset's newest tune in this experiment, and the newest "
        "early_stop of the same data under each set of limits.",
    ),
}
_ALL = {**_OF_REPORT, **_OF_STUDY, "resume": _RESUME}

dataset_options = add_options({name: _OF_STUDY[name] for name in OF_DATA})
tune_options = add_options({**_OF_STUDY, "resume": _RESUME})
report_options = add_options(_OF_REPORT)
main_options = add_options(
    {
        **_OF_STUDY,
        "dataset": spec(
            "red_wine",
            DATASETS,
            f"The dataset: {_DATASETS}. Several, separated by commas, are studied one after the other and then "
            "compared.",
        ),
        "limits": {**_OF_STUDY["limits"], "default": AUTO},
    }
)


def as_typed(options: Mapping[str, Any]) -> dict[str, str]:
    """Options as a user types them: ``max_rows=all`` for None."""
    return {name: _ALL[name]["kind"].write(value) for name, value in options.items()}
