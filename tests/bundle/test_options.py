"""The commands' options: what is allowed, what becomes of it, and the sentence for what is not."""

import re
from pathlib import Path

import pytest
from cases import cases
from click.testing import CliRunner
from study_settings import parsed

from entrypoints.errors import UserError
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


LENGTH = "auto or a number of epochs or steps, such as 10 epochs, is"
NAME = "none or a name of at most 250 characters without / and : is"


@pytest.mark.parametrize(
    ("name", "texts", "allowed", "default"),
    [
        ("folds", ("1", "2.5", ""), "auto or a whole number from 2 is", "auto"),
        ("max_rows", ("0", "1e3", "none"), "all or a whole number from 1 is", "all"),
        (
            "length",
            ("0 steps", "-1 epochs", "10", "2 days"),
            LENGTH,
            "auto",
        ),
        ("time_limit_s", ("0", "1h", "inf"), "none or auto or a number above 0 is", "auto"),
        ("rate", ("0.05", "20000", "nan"), "none or a number from 0.1 to 10000 is", "none"),
        ("register", ("", "a/b", "x" * 251), NAME, "none"),
        ("resume", ("", "a,b"), "none or the run id of a study is", "none"),
        ("served", ("true", ""), "on or none is", "on"),
        ("study", ("", "a,,b"), "auto or run ids separated by commas are", "auto"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_option_refuses_another_value_in_one_sentence(name, texts, allowed, default):
    """It names the option, what was given, what is allowed, and the default."""
    for text in texts:
        with pytest.raises(UserError) as raised:
            parsed(f"--{name}", text, options=_with(name))
        assert raised.value.message == f"{name}={text}: {allowed} allowed; leave it out for the default, {default}"


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
        shown = re.sub(r"\s+", "", CliRunner().invoke(command, ["--help"]).output)
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


def test_dataset_that_is_missing_among_several_is_a_mistake():
    """A comma too many may stand for one that was forgotten."""
    with pytest.raises(UserError, match=r"^dataset=red_wine,: a dataset or several separated by commas are allowed; "):
        parsed("--dataset", "red_wine,", options=main_options)
