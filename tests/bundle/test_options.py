"""The commands' options: what is allowed, what becomes of it, and the sentence for what is not."""

import re
from pathlib import Path

from cases import cases
from commands import invoke
from records import parsed

from entrypoints.report import report
from entrypoints.settings import DEFAULT_LIMITS, as_typed, main_options, report_options, tune_options
from entrypoints.tune import tune


def _with(name):
    """The options of a command that has this one."""
    return report_options if name == "study" else tune_options


@cases(
    "name, text, value",
    {
        "fewest folds": ("folds", "2", 2),
        "all rows": ("max_rows", "all", None),
        "the default limits": ("limits", "auto", DEFAULT_LIMITS),
        "no limits": ("limits", "none", None),
        "space": ("space", "{batch_size: [8, 64], alpha: 0.1}", {"batch_size": [8, 64], "alpha": [0.1]}),
        "model name": ("register", " wine quality, é ", "wine quality, é"),
        "studies, each once": ("study", "b, a,b", ("b", "a")),
    },
)
def test_option_takes_a_value_that_is_allowed(name, text, value):
    """Also at the edge of what is allowed."""
    assert parsed(f"--{name}", text, options=_with(name))[name] == value


def test_options_are_written_as_they_are_typed():
    """In a run's parameters, and for the commands that main starts; the defaults, too."""
    given = {
        "max_rows": "all",
        "length": "500 steps",
        "time_limit_s": "2.5",
        "seed": "3",
        "limits": "auto",
    }
    given |= {"max_trials": "auto", "cpus": "all", "register": "none", "space": '{"alpha": [0.1], "tol": [0, 1]}'}
    line = [part for name, text in given.items() for part in (f"--{name}", text)]
    written = as_typed(parsed(*line))
    assert {name: written[name] for name in given} == given
    assert as_typed(parsed()) == {option.name: str(option.default) for option in tune.params}


@cases(
    "given, steps",
    {
        "ten epochs, but at most 1500 steps": ("auto", [200, 1500]),
        "epochs alone": ("200 epochs", [4000, 200_000]),
        "one epoch": ("1 epoch", [20, 1000]),
        "steps alone": ("500 steps", [500, 500]),
    },
)
def test_length_is_what_was_given_and_else_the_default(given, steps):
    """In steps, of a trial whose epochs have 20 of them, and of one whose epochs have 1000."""
    length = parsed("--length", given)["length"]
    assert [length.in_steps(epoch_steps) for epoch_steps in (20, 1000)] == steps


def test_every_option_has_a_help_text_and_shows_its_default():
    """The command line explains itself."""
    for command in (tune, report):
        shown = re.sub(r"\s+", "", invoke(command, "--help").output)
        for option in command.params:
            assert option.help, option.name
            assert f"[default:{option.default}]" in shown, option.name


@cases(
    "text, names",
    {
        "one, though a file has its name": ("red_wine", ("red_wine",)),
        "several": ("red_wine, diabetes,red_wine", ("red_wine", "diabetes")),
        "a file with a comma in its name": ("a,b.csv", ("HERE/a,b.csv",)),
        "a file among several": ("b.csv,diabetes", ("HERE/b.csv", "diabetes")),
        "nobody's home": ("~nobody-at-all/mine.csv", ()),
    },
)
def test_datasets_are_names_separated_by_commas(text, names, tmp_path, monkeypatch):
    """Each once, in the order in which they are given."""
    monkeypatch.chdir(tmp_path)
    for name in ("a,b.csv", "b.csv", "red_wine"):
        Path(name).write_text("x")
    expected = tuple(name.replace("HERE", str(tmp_path)) for name in names) or tuple(text.split(","))
    assert parsed("--dataset", text, options=main_options)["dataset"] == expected
