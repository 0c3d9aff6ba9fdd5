"""The page of a report: golden ones, which hold the wording of all answers, and what it has room for."""

import io
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from cases import cases, check_golden
from frames import stopped, study, together
from matplotlib.figure import Figure

from entrypoints.reporting import questions
from entrypoints.reporting.answer import Answer
from entrypoints.reporting.pages import for_terminal, page, table
from entrypoints.reporting.questions import STUDY

GOLDEN = Path(__file__).parent / "golden"
LEVELS = {"batch_size": [8, 64, 512], "learning_rate": [0.1, 0.01, 0.001]}
LIMITS = "training_time_s<=0.5"
COMMAND = """mlflow run . -e early_stop --env-manager local -P 'space={"batch_size": [8, 64, 512]}'"""
LINKS = ["[tune red_wine](#/study) has 9 trials.", "Open next: [the trials](#/trials)."]
COMMON = ("training_time_s", "cpu_seconds", "elapsed_s")


def seconds(row):
    """What a trial takes: most of it for each batch."""
    return 0.05 + 16 / float(row["batch_size"])


def rich(seed=0, levels=LEVELS, **changes):
    """A study in which batch sizes change costs, rates the score; its models are logged."""
    costs = dict.fromkeys(COMMON, seconds) | {
        "peak_memory_mb": lambda row: 177.0,
        "model_memory_mb": lambda row: 1 + row["batch_size"] / 100,
        "mean_step_time_ms": lambda row: 0.3 + row["batch_size"] / 1000,
        "inference_latency_ms": lambda row: 0.1,
    }
    curves = {
        "train_loss": lambda row, share: 0.4 + 0.6 * (1 - share) ** 8,
        "val_rmse": lambda row, share: 0.66 + 0.3 * (1 - share) ** 8,
        "memory_mb": lambda row, share: 177 + 2 * share,
        "cpu_percent": lambda row, share: 97.0,
    }
    noise = dict.fromkeys(costs, 0.02) | {"peak_memory_mb": 0.0001, "model_memory_mb": 0.001}
    frame = study(
        levels,
        costs,
        lambda row: 0.66 + row["learning_rate"],
        noise=noise,
        curves=curves,
        same_model=["batch_size"],
        seed=seed,
        **changes,
    )
    best = frame.complete.iloc[0]
    frame.studies[["model", "model_run_id"]] = [f"models:/m-{seed}", best["run_id"]]
    test = best["val_rmse"] + 0.009
    frame.studies[["test", "test_low", "test_high"]] = [test, test - 0.02, test + 0.02]
    return frame


def limited(made, *batch_sizes):
    """A study under limits that has stopped these batch sizes."""
    frame = made(9, name="early_stop red_wine", of_study={"limits": LIMITS})
    by = {"stop_metric": "training_time_s", "stop_how": "predicted"}
    return stopped(frame, *batch_sizes, **by, training_time_s=0.2, cpu_seconds=0.2)


def dull(seed=0, noise=0.01, **changes):
    """A study in which nothing changes anything."""
    costs = {"training_time_s": lambda row: 1.0, "cpu_seconds": lambda row: 1.2, "peak_memory_mb": lambda row: 177.0}
    curves = {
        "val_rmse": lambda row, share: 0.66,
        "cpu_percent": lambda row, share: 97.0,
        "memory_mb": lambda row, share: 177.0,
    }
    noises = {"training_time_s": noise, "cpu_seconds": noise, "peak_memory_mb": 0.0001}
    return study(LEVELS, costs, noise=noises, curves=curves, seed=seed, **changes)


def of_dataset(made, number):
    """The study of one of several datasets."""
    return made(number, of_study={"dataset": f"dataset{number}", "key": f"k{number}"})


def with_columns(frame, mattering=4):
    """With six columns that its model was asked for, of which the first and the last are alike."""
    nothing = [None] * 4
    columns = pd.DataFrame(
        {
            "column": ["paid by card", *"bcdef"],
            "importance": [0.5, 0.4, 0.3, 0.2, 0.1, 0.0],
            "like": ["f", *nothing, "paid by card"],
            "correlation": [-0.912, *nothing, -0.912],
        }
    )
    about = {"spread": 0.01, "score": "rmse", "rows": 480, "repeats": 20, "study": frame.first}
    return replace(frame, importance=columns.assign(matters=columns.index < mattering, **about))


def end_warned():
    """A study of a table with copies and a leak, that has beaten neither the baseline nor a forest on fewer rows."""
    frame = rich(
        of_study={
            "baseline": [0.66] * 10,
            "copies": "18 % of the rows are exact copies of others, and 22 % of the test rows are in the training part "
            "too: a model that memorises rows looks better than it is on new ones; duplicates=together keeps copies in "
            "one part",
            "leak": "late predicts paid alone: is it known when you predict? -P drop=late",
            "no_interval": "it takes 3 folds",
            "gain": -0.02,
            "gain_low": -0.03,
            "gain_high": -0.01,
        }
    )
    frame.studies[["test_low", "test_high"]] = None
    best = frame.complete.head(1)
    about = {"trial_id": "forest", "name": "reference: forest with its defaults", "role": "reference"}
    forest = best.assign(**about, fit_rows=1000.0, training_time_s=9.0)
    folds = frame.folds[frame.folds["trial_id"].isin(best["trial_id"])].assign(trial_id="forest")
    return replace(frame, references=forest, folds=pd.concat([frame.folds, folds]))


def end_constant():
    """A study of a rare class whose model predicts the frequent one for all rows of the test part."""
    of_study = {"baseline": [0.9591] * 10, "model": "models:/m-0", "predicted_classes": 1, "gain_over_baseline": 0.0}
    of_study |= {"test": 0.9659, "test_low": 0.9636, "test_high": 0.9682}
    score = {"metric": "val_accuracy", "fold_sd": 0.0, "model_sd": 0.0}
    frame = study(
        {"max_iter": [50, 200]}, {"training_time_s": lambda row: 0.05}, lambda row: 0.9591, of_study=of_study, **score
    )
    frame.studies["model_run_id"] = frame.complete["run_id"].iloc[0]
    return frame


def served(choose, **figures):
    """A study of three models, of which the best breaks the limit as served, and two are equal."""
    scores = {8: 0.5, 64: 0.646, 512: 0.651}
    of_study = {"limits": "served_memory_mb<=200", "choose": choose, "algorithm": "linear"}
    of_study |= {"command_cpu_seconds": 28.0, "command_elapsed_s": 37.0}
    frame = study(
        {"batch_size": [8, 64, 512]},
        {"training_time_s": lambda row: 100 * seconds(row)},
        lambda row: scores[row["batch_size"]],
        of_study=of_study,
    )
    small = frame.trials["batch_size"] > 8
    figures |= {"served_memory_mb": small.map({True: 190.0, False: 230.0}), "served_cpu_ms": 4.8, "feasible": small}
    return replace(frame, trials=frame.trials.assign(**figures))


def end_ended():
    """A study that limits, racing and a loss that had diverged have shortened, on another machine than the full one."""
    took = {"command_cpu_seconds": 100.0, "command_elapsed_s": 110.0, "gain": 0.02, "gain_low": 0.01, "gain_high": 0.03}
    full = rich(of_study=took)
    took |= {"command_cpu_seconds": 28.0, "limits": LIMITS}
    own = rich(9, name="early_stop red_wine", of_study=took, about={"host": "a laptop"})
    own = stopped(own, 64, stopped_by="race", stop_how="raced", cpu_seconds=0.1)
    own = stopped(own, 8, stop_metric="training_time_s", stop_how="predicted", cpu_seconds=0.2)
    diverged = (own.trials["batch_size"] == 8) & (own.trials["learning_rate"] == 0.1)
    own.trials.loc[diverged, ["diverged", "stop_metric", "stop_how"]] = [True, "val_loss", "crossed"]
    return together(own, full)


def searched(seed=0, **of_study):
    """A raced search of a table of one's own: two algorithms, of which drawn values differ in each trial."""
    random = np.random.default_rng(seed)
    levels = [{"algorithm": "ridge", "alpha": 10.0**power, "rate": None} for power in range(4)]
    levels += [{"algorithm": "boosting", "alpha": None, "rate": rate} for rate in random.uniform(0.01, 0.3, 8).round(3)]
    frame = study(
        levels,
        {
            "training_time_s": lambda row: 0.1 if row["rate"] is None else 1 + row["rate"],
            "cpu_seconds": lambda row: 2.0,
        },
        lambda row: 0.9 if row["rate"] is None else 0.6 + row["rate"] / 10,
        name=f"{'early_stop' if 'limits' in of_study else 'tune'} orders.csv",
        of_study={"search": "tpe", "dataset": "orders.csv", **of_study},
        seed=seed,
    )
    worse = frame.trials["rate"] > 0.1
    ended = {"status": "KILLED", "stopped_by": "race", "stop_how": "raced"}
    for name, value in ended.items():
        frame.trials[name] = frame.trials[name].mask(worse, value)
    best = frame.complete["val_rmse"].iloc[0]
    frame.studies[["test", "test_low", "test_high"]] = [best, best - 0.02, best + 0.02]
    return frame


def trees(**changes):
    """A study of forests, which have no curves."""
    frame = rich(about={"axis": "fold"}, of_study={"algorithm": "forest"}, **changes)
    return replace(frame, curves=frame.curves.head(0))


def mixed():
    """A study of linear models and of forests, of which the latter have no curves."""
    frame = rich(levels=LEVELS | {"algorithm": ["linear", "forest"]})
    is_tree = frame.trials["algorithm"] == "forest"
    trials = frame.trials.assign(axis=is_tree.map({True: "fold", False: "training step"}), feasible=True)
    curves = frame.curves[~frame.curves["trial_id"].isin(trials.loc[is_tree, "trial_id"])]
    return replace(frame, trials=trials, curves=curves)


def end_raced(**about):
    """A study without limits that racing has shortened, on another machine than the full one."""
    took = {"command_cpu_seconds": 28.0, "command_elapsed_s": 110.0, "gain": 0.02, "gain_low": -0.01, "gain_high": 0.03}
    own = rich(9, of_study=took, about={"host": "a laptop"})
    own = stopped(own, 64, **{"stopped_by": "race", "stop_how": "raced", "cpu_seconds": 0.1} | about)
    return together(own, rich(of_study={"command_cpu_seconds": 100.0, "command_elapsed_s": 110.0}))


def searches():
    """A search, alone and beside two under limits; of one no interval is known, and it ran elsewhere."""
    full = searched(command_cpu_seconds=94.0)
    limited = [
        searched(seed, limits=LIMITS, command_cpu_seconds=28.0, no_interval="it takes 3 folds") for seed in (9, 8)
    ]
    limited[1].studies[["test_low", "test_high"]] = None
    limited[1].trials["host"] = "a laptop"
    limited[0].trials.loc[limited[0].trials["algorithm"] == "ridge", ["status", "stopped_by"]] = ["KILLED", "limits"]
    return full, together(full, *limited)


CASES = {
    "end_rich": rich,
    "end_limits": lambda: together(limited(rich, 8), rich()),
    "study_rich": lambda: with_columns(rich()),
    "study_trees": trees,
    "study_mixed": mixed,
    "study_no_effect": lambda: with_columns(dull(), mattering=0),
    "pair_rich": lambda: with_columns(together(rich(), limited(rich, 8))),  # a full study, and one under limits
    "pair_no_effect": lambda: together(dull(noise=0.4), limited(dull)),
    "pair_poor": lambda: limited(rich, 8, 64, 512),
    "study_raced": searched,
    "searches": searches,
    "datasets_rich": lambda: together(*(of_dataset(rich, number) for number in range(4))),
    "datasets_no_effect": lambda: together(*(of_dataset(dull, number) for number in range(4))),
}
WORDED = {  # whose numbers are not all in a table
    "end_warned": end_warned,
    "end_constant": end_constant,
    "end_none": lambda: rich(of_study={"limits": "peak_memory_mb<=10, training_time_s<=9x median after 50"}),
    "end_served": lambda: served("best"),
    "end_cheapest": lambda: served("cheapest", served_p50_ms=20.0, served_p95_ms=31.0),
    "end_ended": end_ended,
    "end_raced": end_raced,
    "end_raced_diverged": lambda: end_raced(diverged=True),
}


@cache
def asked(case):
    """What is answered of a case, whose name begins with the kind of its page."""
    kind, made = case.partition("_")[0], (CASES | WORDED)[case]()
    frames = made if isinstance(made, tuple) else [made]
    return questions.ask(STUDY if kind in ("pair", "searches") else kind, *frames)


@cases("case", [*CASES, *WORDED])
def test_page_is_the_golden_one(case):
    """Read these as a newcomer would; UPDATE_GOLDEN=1 writes them again. A figure's title is its first sentence."""
    answers = asked(case)
    text = page("a" * 32, answers, LINKS, COMMAND if case == "study_no_effect" else "")
    check_golden(GOLDEN / f"{case}.md", text)
    assert len(text) <= 8000
    for answer in answers:
        if answer.draw:
            figure = answer.draw()
            figure.savefig(io.BytesIO())
            assert _plain(figure.get_suptitle()) == _plain(answer.sentences[0])


def _plain(text):
    return " ".join(re.sub(r"[`*]", "", text).split())


@cases("case", [*CASES])
def test_every_number_of_a_sentence_is_in_its_table(case):
    """So that whoever doubts it finds what it was made of: as it is, as a share, or as one over it."""
    for answer in asked(case):
        values = _numbers_of(answer.table)
        for sentence in answer.sentences:
            said = re.sub(r"`[^`]*`|\w+=\S+|seed \d+|dataset\d+", " ", sentence)
            numbers = re.findall(r"\d+(?:\.\d+)?(?:e-\d+)?", said)
            missing = [number for number in numbers if not _is_near(number, values)]
            assert missing == [], (answer.name, sentence, missing)


KNOWN = {1.0, 5.0, 0.1, 1000.0}  # a ratio's numerator, what is too small for a word (5 %, 0.1 MB), and rows


def _numbers_of(rows):
    """What a sentence may say of a table: its numbers and counts of its rows."""
    numbers = rows.select_dtypes("number").to_numpy(dtype=float).ravel()
    texts = rows.astype(str).to_numpy().ravel()
    found = {abs(float(each)) for each in numbers if each == each}
    found |= {float(each) for text in texts for each in re.findall(r"\d+(?:\.\d+)?", str(text))}
    return found | {float(count) for count in range(len(rows) + 1)} | KNOWN


def _is_near(text, values):
    number = float(text)
    places = len(text.partition(".")[2].partition("e")[0])
    error = max(0.5 * 10.0**-places, 0.06 * number if len(text.strip("0.")) < 3 else 0.006 * number)
    for value in values:
        made = [value, 1 + value, 100 * value, 100 * abs(1 - value), 1 / value if value else 0.0]
        if min(abs(number - each) for each in made) <= error:
            return True
    return False


def test_each_answer_has_a_section_below_the_first_sentences():
    """What the first question shows stands below its first sentence and the links; a section has what there is."""
    short = pd.DataFrame({"column": ["x"]})
    answers = [
        Answer("decision", ("**Take it**.", "One.", "Two."), shown=pd.DataFrame({"alpha": [0.1]})),
        Answer("importance", ("Three.",)),
        Answer("effects", ("Five.", "Four."), short, draw=Figure),
    ]
    text = page("a" * 32, answers, LINKS)
    assert text.startswith(f"**Take it**.\n{LINKS[0]}\n{LINKS[1]}\n\n| alpha |\n| --- |\n| 0.1 |\n\n- One.\n- Two.\n")
    assert [text.count(each) for each in ("Three.", "###")] == [1, 1]
    places = [text.index(each) for each in ("### What hyper", "![effects]", "- Four.", "| column |")]
    assert places == sorted(places)


def test_long_page_is_cut_at_its_end():
    """MLflow refuses a longer description."""
    text = page("a" * 32, [Answer("decision", ("x" * 9000,))], LINKS)
    assert (len(text), text[-4:]) == (8000, " ...")


def test_terminal_shows_the_table_and_one_line_of_each_other_answer():
    """All else is on the page; marks of Markdown are not."""
    first = Answer("decision", ("**Take** `it`.", "Load it."), shown=pd.DataFrame({"alpha": [0.1], "kind": ["a"]}))
    others = [Answer("counts", ("Nine trials.", "More.")), Answer("effects", open_question="Why not.")]
    lines = [line.split() for line in for_terminal([first, *others]).splitlines()]
    assert lines[:2] == [["alpha", "kind"], ["0.1", "a"]]
    assert [" ".join(line) for line in lines[3:]] == ["Take it.", "Load it.", "Nine trials.", "Why not."]


def test_table_shows_the_first_rows_without_ids():
    """How many more there are is said; a bar would end a cell."""
    rows = pd.DataFrame({"run_id": ["r"] * 10, "limit": ["a|b"] * 10, "training_time_s": [0.123456] * 10})
    lines = table(rows).splitlines()
    assert lines[:3] == ["| limit | training_time_s |", "| --- | --- |", "| a/b | 0.12 |"]
    assert (len(lines), lines[-1]) == (12, "2 more rows are in the artifact.")
    assert table(pd.DataFrame()) == ""
