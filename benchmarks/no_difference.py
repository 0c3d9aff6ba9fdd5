"""A/A and A/B of what a report says hyperparameters do: what it claims where nothing differs, and finds where it does.

    python benchmarks/no_difference.py [--draws 100] [--studies 20] [--repeats 50] [--tables 10] [--quick]

A/A of scores: each draw is a new table of 768 rows, to which scikit-learn's models are fitted fold by fold. In one
study a hyperparameter chooses between two halves of the features that are equally informative, so its levels differ on
each table and not in the population; in the other between logistic regression and a linear SVM. At most 5 of 100 may
claim that it changes the score.

A/A of costs: each study times 24 trials that all do the same. At most 1 of 20 may claim anything.

A/A of memory: made-up studies of 8, 24 and 108 trials, whose memory grows from start to start and by nothing else. At
most 1 of 20 may claim anything.

A/A of reports on forests: ten of the tables above, on each a real study by `search=grid` and a raced one by
`search=tpe`. Two algorithms are one forest, on the two halves of the features, and `random_state` changes nothing but
chance. At most 1 of 10 reports may say of these that one is better, or that they change the score or a cost; or that
something is learned from fold to fold.

A/B: made-up studies of 8, 24 and 108 trials, in which one hyperparameter of three changes a cost by a known factor or
amount, models leak memory while they train, or the score of one level is lower by some standard errors of the folds.
Shares of them in which that is found, and in which its 95 % interval holds the true value.

Minutes in one process, and half a minute for each real study. What the A/A of costs says depends on what else the
machine does.
"""

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from entrypoints.compute import environment  # noqa: E402

environment.set_defaults()  # libraries read it when they are imported

import click  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from early_stop import study as real_study  # noqa: E402
from frames import study  # noqa: E402
from mlflow import MlflowClient  # noqa: E402
from sklearn.linear_model import SGDClassifier  # noqa: E402
from sklearn.model_selection import StratifiedKFold, train_test_split  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from entrypoints.reporting.questions import CURVES, STUDY, ask, effects, training  # noqa: E402
from entrypoints.runs.tags import BY_RACE  # noqa: E402
from entrypoints.statistics import is_learned  # noqa: E402
from entrypoints.trials.frame import frame_of  # noqa: E402
from entrypoints.trials.reading import rows_of  # noqa: E402

ROWS, FOLDS, EPOCHS = 768, 10, 10
SCORE = "val_accuracy"
HALVES = {"first": slice(0, 4), "second": slice(4, 8)}
LOSSES = {"logistic": "log_loss", "svm": "hinge"}
TRAINED = {"alpha": [0.001, 0.01, 0.1], "learning_rate": [0.1, 0.01, 0.001, 0.0001]}
FOREST = """
from sklearn.ensemble import ExtraTreesClassifier

class First(ExtraTreesClassifier):
    columns = slice(0, 4)

    def fit(self, X, y, sample_weight=None):
        return super().fit(X[:, self.columns], y, sample_weight)

    def predict_proba(self, X):
        return super().predict_proba(X[:, self.columns])

class Second(First):
    columns = slice(4, 8)
"""
FORESTS = {
    "target": "y",
    "algorithm": "forest_of_half.First,forest_of_half.Second",
    "space": "{n_estimators: [30], min_samples_leaf: [1, 5, 20, 80], random_state: [1, 2, 3]}",
    "served": "none",
}
NO_EFFECT = ("algorithm", "random_state")
SIZES = {
    8: {"batch_size": [8, 64], "learning_rate": [0.01, 0.001]},
    24: {"batch_size": [8, 32, 128, 512], "learning_rate": [0.1, 0.01, 0.001]},
    108: {"batch_size": [2**i for i in range(1, 10)], "learning_rate": [10.0**-i for i in range(6)]},
}
ALGORITHM = {"algorithm": ["logistic", "svm"]}
FACTORS, NOISES = (1.1, 1.5, 8.0), (0.01, 0.03, 0.1)
MEMORY_MB, LEAK_MB = 5.0, 5.0
LEVELS_MB, GROWTH_MB = (177.0, 5.0), 1.0  # of a process; of the smallest, and how much it grows
MODEL_SD = 0.01  # of what the models of one level do on a fold
ERRORS = (0, 1, 2, 4)
# Of the difference between two models, as Nadeau and Bengio have it.
STANDARD_ERROR = MODEL_SD * np.sqrt(2 * (1 / FOLDS + 1 / (FOLDS - 1)))


@click.command(help=__doc__)
@click.option("--draws", default=100, show_default=True, help="Tables of the A/A of scores.")
@click.option("--studies", default=20, show_default=True, help="Of the A/A of costs.")
@click.option("--repeats", default=50, show_default=True, help="Studies of each line of the A/B.")
@click.option("--tables", default=10, show_default=True, help="Of the A/A of reports on forests.")
@click.option("--quick", is_flag=True)
def main(draws, studies, repeats, tables, quick):
    """Print the tables."""
    if quick:
        draws = studies = repeats = 2
        tables = 1
    for name, levels in (("features", list(HALVES)), ("algorithm", list(LOSSES))):
        began = time.monotonic()
        rows = [_claimed(_scored(seed, name, levels), name) for seed in range(draws)]
        told, changes = [row for row in rows if row["reported"]], np.array([row["change"] for row in rows])
        rises = sum(row["change"] > 0 for row in told)
        click.echo(
            f"A/A of scores, {name}: {len(told)} of {draws} claim a difference ({rises} that it rises); "
            f"mean difference {changes.mean():+.4f}, from draw to draw {changes.std():.4f} "
            f"({time.monotonic() - began:.0f} s)"
        )
    timed = [effects.of_costs(_timed(seed)) for seed in range(studies)]
    claims = [table[table["reported"]] for table in timed]
    click.echo(f"A/A of costs: {sum(not table.empty for table in claims)} of {studies} claim something")
    for row in pd.concat(claims).to_dict("records"):
        click.echo(f"      {row['hyperparameter']}: {row['metric']}, {row['low']:.3g} to {row['high']:.3g} times")
    for level_mb in LEVELS_MB:
        for trials, levels in SIZES.items():
            grown = [effects.of_costs(_grown(seed, levels, level_mb)) for seed in range(studies)]
            count = sum(table["reported"].any() for table in grown)
            click.echo(f"A/A of memory of {level_mb:g} MB, {trials} trials: {count} of {studies} claim something")
    for search in ("grid", "tpe"):
        reports = [_forests(seed, search) for seed in range(tables)]
        claiming = [claims for claims, _ in reports if claims]
        raced = sum(count for _, count in reports)
        click.echo(f"A/A of reports on forests, {search}, {raced} trials raced: {len(claiming)} of {tables} claim")
        for claims in claiming:
            click.echo(f"      {', '.join(claims)}")
    click.echo("\nA/B of costs: found, and interval holds the true value, in % of studies")
    click.echo(pd.DataFrame(_costs(repeats)).to_string(index=False))
    click.echo("\nA/B of scores: found, in % of studies, by how many standard errors one level is lower")
    click.echo(pd.DataFrame(_scores(repeats)).to_string(index=False))


def _claimed(frame, name):
    """The row of one hyperparameter's effect on the score."""
    table = effects.of_score(frame)
    return table[table["hyperparameter"] == name].iloc[0].to_dict()


def _scored(seed, name, levels):
    """A study of one new table: all levels with all rates and penalties, on the same ten folds.

    Batch sizes do not change these models, since ``partial_fit`` makes a step for each row.
    """
    random = np.random.default_rng(seed)
    X, y = _table(random)
    train, _ = train_test_split(np.arange(ROWS), test_size=0.3, random_state=0, stratify=y)
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    folds = [(train[fit], train[held_out]) for fit, held_out in splitter.split(train, y[train])]
    orders = [np.concatenate([random.permutation(fit) for _ in range(EPOCHS)]) for fit, _ in folds]
    known = {}

    def score(row):
        key = f"{row[name]} {row['alpha']} {row['learning_rate']}"
        if key not in known:
            known[key] = np.array([_fitted(X, y, row, *fold, order) for fold, order in zip(folds, orders, strict=True)])
        return known[key]

    levels_of = {name: levels, **TRAINED, "batch_size": [8, 64, 512]}
    return study(levels_of, {}, score, metric=SCORE, folds=FOLDS, fold_sd=0, model_sd=0, seed=seed)


def _table(random):
    """Rows of two classes, and eight features that are equally informative."""
    y = (random.random(ROWS) < 0.5).astype(int)
    return 0.28 * (2 * y - 1)[:, None] + random.normal(size=(ROWS, 8)), y


def _fitted(
    X,
    y,
    row,
    fit,
    held_out,
    order,
):
    """The accuracy of one model on one fold."""
    columns = HALVES.get(row.get("features", ""), slice(None))
    scaler = StandardScaler().fit(X[fit, columns])
    model = SGDClassifier(
        loss=LOSSES[row.get("algorithm", "logistic")],
        learning_rate="constant",
        eta0=row["learning_rate"],
        alpha=row["alpha"],
        shuffle=False,
    )
    model.partial_fit(scaler.transform(X[order, columns]), y[order], classes=[0, 1])
    return float(model.score(scaler.transform(X[held_out, columns]), y[held_out]))


def _timed(seed):
    """A study of trials that all do the same work, which is timed."""
    random = np.random.default_rng(seed)
    X, y = random.normal(size=(64, 11)), random.integers(0, 2, 64)

    def training_time_s(row):
        model = SGDClassifier()
        began = time.perf_counter()
        for _ in range(300):
            model.partial_fit(X, y, classes=[0, 1])
        return time.perf_counter() - began

    def inference_latency_ms(row):
        model, times = SGDClassifier().fit(X, y), []
        for _ in range(50):
            began = time.perf_counter()
            model.predict(X[:1])
            times.append(time.perf_counter() - began)
        return 1000 * float(np.median(times))

    levels = {"first": [1, 2, 3, 4], "second": [1, 2, 3], "third": ["a", "b"]}
    costs = {"training_time_s": training_time_s, "inference_latency_ms": inference_latency_ms}
    return study(levels, costs, metric=None, noise=0, seed=seed)


def _forests(seed, search):
    """What the report on a real study claims of what has no effect, and how many trials racing has ended."""
    with tempfile.TemporaryDirectory(prefix="no-difference-") as name:
        folder = Path(name)
        X, y = _table(np.random.default_rng(seed))
        pd.DataFrame(X).add_prefix("x").assign(y=y).to_csv(folder / "table.csv", index=False)
        (folder / "forest_of_half.py").write_text(FOREST)
        client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
        params = {"dataset": str(folder / "table.csv"), "search": search, "seed": str(seed), **FORESTS}
        frame = frame_of([rows_of(client, real_study(params, folder, client), CURVES)])
    tables = {answer.name: answer.table for answer in ask(STUDY, frame)}
    effects_of, algorithms, curves = (tables[name].to_dict("records") for name in ("effects", "algorithms", "training"))
    claims = [
        f"{row['hyperparameter']} changes {row['metric']}"
        for row in effects_of
        if row["hyperparameter"] in NO_EFFECT and row["reported"]
    ]
    if not frame.is_raced:  # else the report calls none worse
        worse = [row for row in algorithms if row["behind"] > row["least_significant_difference"]]
        claims += [f"{row['algorithm']} is worse" for row in worse]
    learned = [row for row in curves if is_learned(row["metric"]) and row["verdict"] != training.UNCLEAR]
    claims += [f"{row['metric']} {row['verdict']} from fold to fold" for row in learned]
    return claims, (frame.trials["stopped_by"] == BY_RACE).sum()


def _grown(seed, levels, level_mb):
    """A study whose trials find a process that grows, most of all in its first ones."""

    def peak_memory_mb(row):
        return level_mb + GROWTH_MB * (1 - float(np.exp(-row["number"] / 5)))

    return study({**levels, **ALGORITHM}, {"peak_memory_mb": peak_memory_mb}, metric=None, noise=1e-4, seed=seed)


def _costs(repeats):
    """A row for each planted cost, size of study and noise."""
    rows = []
    for trials, levels in SIZES.items():
        for noise in NOISES:
            for factor in FACTORS:
                found = [_effect(levels, seed, noise, "training_time_s", factor) for seed in range(repeats)]
                rows.append(
                    _share(found, factor, {"trials": trials, "noise": noise, "planted": f"training time x {factor:g}"})
                )
        found = [_effect(levels, seed, 0.02, "model_memory_mb", MEMORY_MB) for seed in range(repeats)]
        rows.append(_share(found, MEMORY_MB, {"trials": trials, "noise": 0.02, "planted": "5 MB of a model's memory"}))
        leaks = [_leak(levels, seed) for seed in range(repeats)]
        rows.append(_share(leaks, LEAK_MB, {"trials": trials, "noise": 0.02, "planted": "a leak of 5 MB"}))
    return rows


def _effect(levels, seed, noise, cost, planted):
    """What is said of the algorithm's effect on a cost that it changes by a factor, or on memory."""

    def training_time_s(row):
        return (0.5 + 20 / row["batch_size"]) * (planted if row["algorithm"] == "svm" else 1.0)

    def model_memory_mb(row):
        return 2 + row["batch_size"] / 100 + (planted if row["algorithm"] == "svm" else 0.0)

    of = training_time_s if cost == "training_time_s" else model_memory_mb
    table = effects.of_costs(study({**levels, **ALGORITHM}, {cost: of}, noise=noise, seed=seed))
    return table[table["hyperparameter"] == "algorithm"].iloc[0].to_dict()


def _leak(levels, seed):
    """What is said of memory during training, where each trial leaks."""
    random = np.random.default_rng(seed)

    def memory_mb(row, share):
        return 177 + LEAK_MB * share + random.normal(0, 0.2)

    row = training.learning_curves(study({**levels, **ALGORITHM}, curves={"memory_mb": memory_mb}, seed=seed)).iloc[0]
    return {**row.to_dict(), "reported": row["verdict"] == training.RISES}


def _share(found, planted, about):
    told = np.mean([row["reported"] for row in found])
    holds = np.mean([row["low"] <= planted <= row["high"] for row in found])
    return about | {"found %": round(100 * told), "holds %": round(100 * holds)}


def _scores(repeats):
    """A row for each size of a study. All models of a level err alike, as those of one kind do."""
    rows = []
    for trials, levels in SIZES.items():
        row = {"trials": trials}
        for errors in ERRORS:
            told = [_lower(levels, seed, errors)["reported"] for seed in range(repeats)]
            row[f"{errors} errors"] = round(100 * float(np.mean(told)))
        rows.append(row)
    return rows


def _lower(levels, seed, errors):
    random = np.random.default_rng(seed)
    each = {level: random.normal(0, MODEL_SD, FOLDS) for level in ALGORITHM["algorithm"]}

    def score(row):
        lower = errors * STANDARD_ERROR if row["algorithm"] == "svm" else 0.0
        return 0.77 - lower + each[row["algorithm"]]

    frame = study(
        {**levels, **ALGORITHM}, {}, score, metric=SCORE, model_sd=0.2 * MODEL_SD, same_model=["batch_size"], seed=seed
    )
    return _claimed(frame, "algorithm")


if __name__ == "__main__":
    main()
