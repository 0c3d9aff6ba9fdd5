"""How often does `mlflow-sysmetrics check` cry wolf, and what does it find, beside the rules that people use?

    python benchmarks/check.py [--runs runs.json] [--invocations 2000]

Runs three programs (scikit-learn, pandas, numpy; about a second each) sixty times in pairs at once, and sixty times one
after the other, and keeps the numbers in a file, which a later call takes as it is. Checks are resampled from stretches
of ten pairs in their order, with a coin for who is the candidate; a change is put in by adding it to the candidate's.
Scores are real, of models with other seeds. Run it on a machine that is as busy as yours.
"""

import json
import math
import os
import sys
import tempfile
from functools import cache
from pathlib import Path

import click
import mlflow
import numpy as np
from scipy import stats
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from mlflow_sysmetrics.check.programs import Program, Programs
from mlflow_sysmetrics.check.verdict import CPU, LOOKS, MEMORY, PEAK_RSS, TIME, ComparedMetric, judge
from mlflow_sysmetrics.delivery import RunRef

PROGRAMS = {
    "scikit-learn": """
from sklearn.datasets import make_classification
from sklearn.linear_model import SGDClassifier
X, y = make_classification(4000, 20, random_state=0)
for seed in range(25):
    SGDClassifier(random_state=seed).fit(X, y)
""",
    "pandas": """
import numpy as np, pandas as pd
random = np.random.default_rng(0)
frame = pd.DataFrame({"key": random.integers(0, 500, 400_000), "value": random.random(400_000)})
for _ in range(25):
    frame.groupby("key").value.agg(["mean", "median"])
""",
    "numpy": """
import numpy as np
random = np.random.default_rng(0)
for _ in range(25):
    np.sort(random.random(600_000))
""",
}
COSTS = ("cpu_seconds", "peak_rss_mb", "peak_memory_mb", "elapsed_s")
PAIRS = 30
SCORE = ComparedMetric("score")
ALL = (CPU, PEAK_RSS, MEMORY, SCORE)
Numbers = dict[
    str, list[list[float]]
]  # of a program: "at once" and "in turn", by run: CPU seconds, both kinds of memory, time
Check = tuple[np.ndarray, np.ndarray]  # baseline and candidate, by summary and pair


def collect():
    """Run the programs."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/runs.db"
        client = mlflow.MlflowClient(uri)
        run = client.create_run("0")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        for name, code in PROGRAMS.items():
            command = [sys.executable, "-c", code]
            sides = [Program(side, command, Path(folder), environment) for side in ("baseline", "candidate")]
            parent = RunRef(uri, "0", run.info.run_id)
            for how in ("at once", "in turn"):
                pairs = Programs(sides, why_in_turn=how.removeprefix("at once"))
                pairs.run(parent, 0)
                each = found.setdefault(name, {}).setdefault(how, [])
                for pair in range(1, PAIRS + 1):
                    each += [[used[name] for name in COSTS] for used in pairs.run(parent, pair)]
                load = os.getloadavg()[0]
                print(f"{name}, {how}: {2 * PAIRS} runs, load {load:.0f}", file=sys.stderr, flush=True)
    return found


@cache
def scores():
    """Error rates by seed, of the split and the model: of a forest, and of one with a tree more, of the same mean."""
    X, y = make_classification(3000, 20, n_informative=5, flip_y=0.1, random_state=0)

    def of(trees):
        found = []
        for seed in range(60):
            X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=seed)
            forest = RandomForestClassifier(trees, random_state=seed).fit(X_train, y_train)
            found.append(1 - forest.score(X_test, y_test))
        return np.array(found)

    one, other = of(20), of(21)
    return {"one": one, "other": other + one.mean() - other.mean()}


def checks(runs, how, count, *, seeds="paired", only="", time=False):
    """Resampled checks of programs that do not differ, by program."""
    random, known = np.random.default_rng(7), scores()
    names = [only] if only else [*runs]
    for number in range(count):
        name = names[number % len(names)]
        begin = 2 * random.integers(0, PAIRS - LOOKS[-1] + 1)
        stretch = np.array(runs[name][how][begin : begin + 2 * LOOKS[-1]]).reshape(-1, 2, 4)
        coin = random.random(LOOKS[-1]) < 0.5
        stretch[coin] = stretch[coin][:, ::-1]
        first = random.permutation(60)[: 2 * LOOKS[-1]]
        second = known["other"][first[:10]] if seeds == "paired" else known["one"][first[10:]]
        score = np.stack([known["one"][first[:10]], second])
        kept = (0, 1, 2, 3) if time else (0, 1, 2)
        costs = [stretch[:, side, kept].T for side in (0, 1)]
        yield name, (np.vstack([costs[0], score[0]]), np.vstack([costs[1], score[1]]))


def changed(check, row, by):
    """The candidate's costs times 1 + `by`, or its score higher by `by` spreads."""
    before, after = check[0], check[1].copy()
    is_score = row == len(before) - 1
    after[row] = after[row] + by * scores()["one"].std(ddof=1) if is_score else after[row] * (1 + by)
    return before, after


def decided(check, summaries=ALL):
    """What the check says at its end, and after how many pairs."""
    judged = []
    for looks in LOOKS:
        judged = judge(summaries, *(side[:, :looks] for side in check), before=judged)
        if all(each.verdict != "cannot be judged" for each in judged):
            break
    return {each.name: each for each in judged}, looks


def show_ours(runs, how, count):
    """False alarms, noise, pairs and share judged; what is found of changes, and what passes."""
    summaries = (CPU, PEAK_RSS, MEMORY, TIME, SCORE) if how == "in turn" else ALL
    kept = list(checks(runs, how, count, time=how == "in turn"))
    results = [(name, *decided(check, summaries)) for name, check in kept]
    alarms = np.mean([any(each.verdict == "worse" for each in judged.values()) for _, judged, _ in results])
    print(f"\n{how}, {count} checks of {len(summaries)} summaries, paired seeds: {alarms:.2%} false alarms")
    print(
        f"  {'program':13}{'noise':>7}{'pairs':>7}{'judged':>8}  found +5 %  +10 %  +20 %  passed at +5 %, +10 %",
        flush=True,
    )
    for name in runs:
        own = [(judged, pairs) for of, judged, pairs in results if of == name]
        noise = np.median([judged["cpu_seconds"].noise for judged, _ in own])
        known = np.mean([judged["cpu_seconds"].verdict != "cannot be judged" for judged, _ in own])
        of_program = [check for of, check in kept if of == name][: count // 8]
        found, passed = [], []
        for by in (0.05, 0.1, 0.2):
            verdicts = [decided(changed(check, 0, by), summaries)[0]["cpu_seconds"].verdict for check in of_program]
            found.append(np.mean([each == "worse" for each in verdicts]))
            passed.append(np.mean([each in ("passes", "better") for each in verdicts]))
        pairs = np.mean([pairs for _, pairs in own])
        print(
            f"  {name:13}{noise:6.1f}%{pairs:7.1f}{known:8.0%}  {found[0]:10.0%}{found[1]:7.0%}{found[2]:7.0%}", end=""
        )
        print(f"  {passed[0]:13.1%}{passed[1]:8.1%}", flush=True)
    few = [check for _, check in kept[: count // 4]]
    memory = [decided(changed(check, 1, 0.02), summaries)[0]["peak_rss_mb"].verdict for check in few]
    score = [decided(changed(check, len(summaries) - 1, 1.0), summaries)[0]["score"].verdict for check in few]
    print(f"  +2 % of memory: {np.mean([each == 'worse' for each in memory]):.1%} found", end="; ")
    print(f"a score worse by one spread: {np.mean([each == 'worse' for each in score]):.1%} found, ", end="")
    print(f"{np.mean([each == 'passes' for each in score]):.1%} passed")
    for row, summary in enumerate(summaries):
        sizes = [_smallest(few[: count // 16], summaries, row, pairs) for pairs in (5, 10)]
        unit = "spreads" if summary is SCORE else "%"
        said = ", ".join(f"{size if summary is SCORE else 100 * size:.2g} {unit}" for size in sizes)
        print(f"  {summary.name}: smallest change found in 95 % with 5 and 10 pairs: {said}", flush=True)


def _smallest(kept, summaries, row, pairs):
    low, high = 0.0, 4.0
    for _ in range(9):
        middle = (low + high) / 2
        shifted = ([side[:, :pairs] for side in changed(check, row, middle)] for check in kept)
        found = np.mean([judge(summaries, *sides)[row].verdict == "worse" for sides in shifted])
        low, high = (low, middle) if found >= 0.95 else (middle, high)
    return high


def show_others(runs, how, count):
    """The rules that people use, on the same numbers: of CPU seconds and memory an alarm of either."""
    rules = {
        "one run each, fixed 10 %": lambda a, b: b[0] > 1.1 * a[0],
        "medians of 5, fixed 5 %": lambda a, b: np.median(b[:5]) > 1.05 * np.median(a[:5]),
        "pyperf compare_to, 10 each": lambda a, b: stats.ttest_ind(a, b).pvalue < 0.05 and b.mean() > a.mean(),
        "Bencher's t-test, 10 before": lambda a, b: b[0] > a.mean() + stats.t.ppf(0.99, 9) * a.std(ddof=1),
    }
    kept = [check for _, check in checks(runs, how, count)]
    print(f"\nother rules, {how}:{'':24}false alarms   found +10 % CPU")
    for name, rule in rules.items():
        false = np.mean([any(rule(a[row], b[row]) for row in (0, 1)) for a, b in kept])
        found = np.mean([rule(a[0], 1.1 * b[0]) for a, b in kept])
        print(f"  {name:42}{false:12.1%}{found:15.0%}", flush=True)


def show_simulated(count):
    """False alarms of three summaries whose noise is not normal, with a coin a pair."""
    random = np.random.default_rng(11)
    steps = 2 * LOOKS[-1]
    kinds = {
        "normal": lambda: random.normal(size=steps),
        "t with 3 degrees": lambda: random.standard_t(3, size=steps),
        "log-normal": lambda: np.exp(random.normal(size=steps)),
        "5 % outliers of 6 sd": lambda: random.normal(size=steps) + 6 * (random.random(steps) < 0.05),
        "20 % outliers of 6 sd": lambda: random.normal(size=steps) + 6 * (random.random(steps) < 0.2),
        "autocorrelation 0.8": lambda: _autocorrelated(random, steps),
        "drift of 1 sd a run": lambda: random.normal(size=steps) + np.arange(steps),
        "a step of 8 sd": lambda: random.normal(size=steps) + 8 * (np.arange(steps) > random.integers(steps)),
    }
    three = [CPU, PEAK_RSS, TIME]
    print(f"\nsimulated noise, {count} checks each: false alarms")
    for name, draw in kinds.items():
        alarms = 0
        for _ in range(count):
            noise = np.exp(0.03 * np.array([draw() for _ in three])).reshape(3, -1, 2)
            coin = random.random(LOOKS[-1]) < 0.5
            noise[:, coin] = noise[:, coin][..., ::-1]
            judged, _ = decided((noise[..., 0], noise[..., 1]), three)
            alarms += any(each.verdict == "worse" for each in judged.values())
        print(f"  {name:24}{alarms / count:7.2%}", flush=True)


def _autocorrelated(random, steps):
    noise = random.normal(size=steps)
    for step in range(1, steps):
        noise[step] = 0.8 * noise[step - 1] + math.sqrt(1 - 0.8**2) * noise[step]
    return noise


@click.command()
@click.option("--runs", "path", type=click.Path(path_type=Path), default=Path("runs.json"), show_default=True)
@click.option("--invocations", "count", default=2000, show_default=True)
def main(path, count):
    if not path.exists():
        path.write_text(json.dumps(collect()))
    runs = json.loads(path.read_text())
    for how in ("at once", "in turn"):
        show_ours(runs, how, count)
        show_others(runs, how, count)
    show_simulated(count)


if __name__ == "__main__":
    main()
