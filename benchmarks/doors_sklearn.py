"""What the callback for scikit-learn says and costs, beside the same fits alone and the same searches without it.

    python benchmarks/doors_sklearn.py [--jobs 1] [--jobs 2]

Random forests: 60 candidates on 5 splits. Just before each fit of five of them a fresh process, which has imported the
same and has done a small fit, does it alone, so that both meet the same machine; a thread there reads /proc every
20 ms. Of both the mean CPU time over the splits, and the highest memory. The same forests under a limit at the median
time. Then fits that take a given CPU time, with and without the callback, on 5 splits and on 25.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from statistics import mean, median

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", PYTHONWARNINGS="ignore")
os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
ROOT = Path(__file__).parent.parent
PATHS = [str(ROOT), str(ROOT / "tests" / "support")]
sys.path[:0] = PATHS
os.environ["PYTHONPATH"] = os.pathsep.join(PATHS)

import click  # noqa: E402
import mlflow  # noqa: E402
import psutil  # noqa: E402
from fits import Fit  # noqa: E402
from joblib.externals.loky import get_reusable_executor  # noqa: E402
from sklearn.datasets import make_classification  # noqa: E402
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402

from mlflow_sysmetrics.sklearn import SystemMetricsCallback  # noqa: E402

GRID = {"max_depth": [4, 8, 12, 16], "max_features": [2, 4, 8], "n_estimators": [10, 20, 40, 60, 80]}
SAMPLE = range(3, 60, 14)  # each number of trees once
SPLITS = 5
SPINS = [(0.001, 40, 5), (0.001, 40, 25), (0.1, 8, 5), (1.0, 2, 5)]  # CPU seconds of a fit, candidates, splits
ALONE = """
import json, os, psutil, sys, threading, time
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold
from mlflow_sysmetrics.sklearn import SystemMetricsCallback

candidate, split, jobs, grid = json.loads(sys.argv[1])
X, y = make_classification(3000, 20, n_informative=8, random_state=0)
before = GridSearchCV(RandomForestClassifier(1), {}, cv=2)
if jobs == 1:  # the process of the search has written runs, and holds what that takes
    before.set_callbacks(SystemMetricsCallback())
before.fit(X[:20], y[:20])
model = RandomForestClassifier(random_state=0, **ParameterGrid(grid)[candidate])
train, test = list(StratifiedKFold(5).split(X, y))[split]
done = threading.Event()

def memory_mb():
    with open("/proc/self/statm") as file:
        pages = file.read().split()
    return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE") / 1e6

def read():
    while not done.wait(0.02):
        seen_mb.append(memory_mb())

class Task:  # the same task of scikit-learn, which copies the model, picks rows, fits and scores: with nothing of ours
    def setup(self, estimator, context): ...
    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context):
        global began
        if context.task_name == "candidate-split-evaluation":
            psutil.heap_trim()
            seen_mb[:] = [memory_mb()]
            began = time.thread_time()

    def on_fit_task_end(self, estimator, context):
        global cpu_s
        if context.task_name == "candidate-split-evaluation":
            cpu_s = time.thread_time() - began

seen_mb = []
search = GridSearchCV(model, {}, cv=[(train, test)], refit=False).set_callbacks(Task())
reader = threading.Thread(target=read)
reader.start()
search.fit(X, y)
time.sleep(0.05)
done.set()
print(json.dumps([cpu_s, max(seen_mb), max(seen_mb) - seen_mb[0]]))
"""


class Alone:
    """A callback that has a fresh process do a fit of the sample just before the search does it."""

    def __init__(self, jobs, folder):
        self.jobs, self.folder = jobs, folder

    def setup(self, estimator, context): ...
    def teardown(self, estimator, context): ...
    def on_fit_task_end(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context):
        """Write the fit's CPU seconds, the peak of RSS - SHR in MB, and what that has grown to a file."""
        candidate, split = divmod(context.task_id, SPLITS)
        if context.task_name == "candidate-split-evaluation" and candidate in SAMPLE:
            told = json.dumps([candidate, split, self.jobs, GRID])
            env = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder}/alone.db"}
            done = subprocess.run([sys.executable, "-c", ALONE, told], check=True, capture_output=True, env=env)
            (Path(self.folder) / f"{candidate}.{split}.json").write_bytes(done.stdout.splitlines()[-1])


def forests(jobs, costs, *others):
    """The run of a search under these callbacks, and those of its candidates in order."""
    X, y = make_classification(3000, 20, n_informative=8, random_state=0)
    search = GridSearchCV(RandomForestClassifier(random_state=0), GRID, cv=SPLITS, n_jobs=jobs, refit=False)
    search.set_callbacks(*others, costs).fit(X, y)
    newest = mlflow.search_runs(filter_string="tags.`sysmetrics.kind` = 'study'", output_format="list")[0]
    wanted = f"tags.mlflow.parentRunId = '{newest.info.run_id}'"
    runs = mlflow.search_runs(filter_string=wanted, output_format="list")
    return newest, sorted(runs, key=lambda run: int(run.data.tags["sysmetrics.run_key"].rpartition("/")[2]))


def show_truth(jobs):
    """Compare some candidates with their fits alone, and say what a limit saves."""
    folder = str(Path.cwd())
    whole, runs = forests(jobs, SystemMetricsCallback(), Alone(jobs, folder))
    cpu_s = whole.data.metrics["cpu_seconds"]
    print(f"n_jobs={jobs}: {len(runs)} candidates x {SPLITS} splits, {cpu_s:.0f} CPU seconds")
    print(f"  {'candidate':44}{'CPU s':>7}{'alone':>8}{'diff':>7}  peak MB    diff  growth    diff")
    for candidate in SAMPLE:
        costs = runs[candidate].data.metrics
        known = [json.loads((Path(folder) / f"{candidate}.{split}.json").read_text()) for split in range(SPLITS)]
        alone_s = mean(each[0] for each in known)
        alone_mb = max(each[1] for each in known)
        alone_grown_mb = max(each[2] for each in known)
        seconds = costs["cpu_seconds"]
        peak_mb = costs["peak_memory_mb"]
        growth_mb = costs["memory_growth_mb"]
        print(
            f"  {runs[candidate].info.run_name:44}{seconds:7.3f}{alone_s:8.3f}{seconds / alone_s - 1:+7.1%}"
            f"{peak_mb:9.1f}{peak_mb - alone_mb:+8.1f}{growth_mb:8.1f}{growth_mb - alone_grown_mb:+8.1f}",
            flush=True,
        )
    limit_s = median(run.data.metrics["cpu_seconds"] for run in runs)
    limited, its_runs = forests(jobs, SystemMetricsCallback(f"cpu_seconds<={limit_s:.4g}"))
    saved = 1 - limited.data.metrics["cpu_seconds"] / cpu_s
    beyond = sum(run.data.metrics["cpu_seconds"] * SPLITS for run in runs if run.data.metrics["cpu_seconds"] > limit_s)
    foreseen = sum("foreseen" in run.data.tags.get("sysmetrics.stop_reason", "") for run in its_runs)
    print(
        f"  cpu_seconds<={limit_s:.4g}, the median: {saved:.0%} of CPU saved of at most "
        f"{beyond / cpu_s:.0%}; {limited.data.metrics['stopped']:.0f} candidates stopped, "
        f"{foreseen} of them before any fit",
        flush=True,
    )


def cpu_of(jobs, search):
    """CPU seconds that a call takes in this process and its workers."""

    def now():
        here = psutil.Process()
        return sum(sum(each.cpu_times()[:2]) for each in [here, *here.children(recursive=True)])

    before = now()
    search()
    return now() - before


def show_overhead(jobs):
    """What the callback adds to a fit and to a candidate."""
    X, y = make_classification(400, 5, random_state=0)
    extra = {}
    for cpu_s, candidates, splits in SPINS:
        taken = {False: [], True: []}
        for turn in range(4 if cpu_s < 0.1 else 2):
            for costs in (False, True):
                grid = {"gives": [each / candidates for each in range(candidates)], "cpu_s": [cpu_s]}
                search = GridSearchCV(Fit(), grid, cv=splits, n_jobs=jobs, refit=False)
                search.set_callbacks(*([SystemMetricsCallback()] if costs else []))
                used_s = cpu_of(jobs, lambda: search.fit(X, y))  # noqa: B023
                if turn or cpu_s >= 0.1:  # the first one starts workers
                    taken[costs].append(used_s)
        extra[cpu_s, splits] = median(taken[True]) - median(taken[False]), candidates, splits
        each_ms = 1000 * extra[cpu_s, splits][0] / (candidates * splits)
        print(
            f"  n_jobs={jobs}, fits of {cpu_s * 1000:.0f} ms, {candidates} x {splits}: {each_ms:+.2f} ms a fit, "
            f"{extra[cpu_s, splits][0] / median(taken[False]):+.1%} of all CPU",
            flush=True,
        )
    (few_s, candidates, few), (many_s, _, many) = extra[0.001, 5], extra[0.001, 25]
    fit_s = (many_s - few_s) / candidates / (many - few)
    candidate_s = few_s / candidates - few * fit_s
    print(f"  n_jobs={jobs}: {1000 * fit_s:.2f} ms of CPU a fit, {1000 * candidate_s:.1f} ms a candidate")


@click.command()
@click.option("--jobs", multiple=True, type=int, default=(1, 2), help="n_jobs of the searches.")
def main(jobs):
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name in ("alone", "mlflow"):  # made elsewhere: that would leave memory in this process
            uri = f"sqlite:///{folder}/{name}.db"
            line = [sys.executable, "-c", "import mlflow; mlflow.search_experiments()"]
            subprocess.run(line, check=True, capture_output=True, env={**os.environ, "MLFLOW_TRACKING_URI": uri})
        mlflow.set_tracking_uri(uri)
        warnings.simplefilter("ignore")  # scikit-learn's, of skipped fits
        for each in jobs:
            began = time.monotonic()
            get_reusable_executor(max_workers=2).shutdown(wait=True)
            show_truth(each)
            show_overhead(each)
            print(f"  {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
