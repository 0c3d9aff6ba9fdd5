"""The commands' options: what is allowed, what becomes of it, and the sentence for what is not."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import click
import pytest
from click.testing import CliRunner
from study_settings import parsed

from entrypoints.errors import UserError
from entrypoints.options import dataset_options, limit_options, study_options
from entrypoints.settings import Limits, StudySettings

OF_DATA = {"dataset": "red_wine", "target": "auto", "max_rows": 0, "folds": 10, "seed": 0}
OF_SEARCH = {
    "algorithm": "auto",
    "batch_sizes": None,
    "learning_rates": (0.1, 0.01, 0.001, 0.0001),
    "alphas": (0.001, 0.01, 0.1),
    "tols": (0.0,),
    "grid": None,
    "search": "grid",
    "samples": 0,
    "repeats": 0,
    "max_trials": 0,
    "max_steps": None,
    "max_epochs": None,
    "time_limit_s": 0.0,
    "report_every": 100,
    "cpus": 0,
    "ray_address": "local",
    "groups": ("process",),
    "register": None,
}
LIST = "numbers separated by commas"
MODEL_NAME = "none or a name of at most 250 characters without / and :"
OF_LIMITS = {"criteria": "auto", "predict": "on", "scheduler": "none"}


def test_options_without_arguments_are_the_documented_defaults() -> None:
    """A study of everything that fits the default dataset."""
    assert parsed() == OF_DATA | OF_SEARCH


def test_options_are_the_settings_of_a_study() -> None:
    """Each option is one setting, under the same name."""
    assert {field.name for field in fields(StudySettings)} == set(parsed())


def test_options_of_prepare_are_the_data_part_of_those_of_a_study() -> None:
    """What is prepared depends on the dataset and its split alone."""
    assert parsed(options=dataset_options) == OF_DATA


def test_limits_without_arguments_are_the_documented_defaults() -> None:
    """Each option is one limit, under the same name; what a study searches is not among them."""
    assert parsed(options=limit_options) == OF_LIMITS
    assert {field.name for field in fields(Limits)} == set(OF_LIMITS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("criteria", "peak_memory_mb<=300, val_loss patience 3", id="criteria"),
        pytest.param("predict", "off", id="predict"),
        pytest.param("scheduler", "asha", id="asha"),
        pytest.param("scheduler", "median", id="median"),
    ],
)
def test_limit_takes_a_value_that_is_allowed(name: str, text: str) -> None:
    """As it stands: criteria are read when the dataset's task is known."""
    assert parsed(f"--{name}", text, options=limit_options) == OF_LIMITS | {name: text}


@pytest.mark.parametrize(
    ("name", "text", "allowed", "default"),
    [
        pytest.param("predict", "true", "on or off is allowed", "on", id="predict"),
        pytest.param("predict", "", "on or off is allowed", "on", id="empty"),
        pytest.param("scheduler", "hyperband", "none or asha or median is allowed", "none", id="scheduler"),
        pytest.param("scheduler", "ASHA", "none or asha or median is allowed", "none", id="other-case"),
    ],
)
def test_limit_refuses_another_value_in_one_sentence(name: str, text: str, allowed: str, default: str) -> None:
    """It names the option, what was given, what is allowed, and the default."""
    with pytest.raises(UserError) as raised:
        parsed(f"--{name}", text, options=limit_options)
    assert raised.value.message == f"{name}={text}: {allowed}; leave it out for the default, {default}"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        pytest.param("dataset", "diabetes", "diabetes", id="dataset"),
        pytest.param("algorithm", "svm", "svm", id="algorithm"),
        pytest.param("folds", "2", 2, id="fewest-folds"),
        pytest.param("seed", "0", 0, id="seed-0"),
        pytest.param("max_steps", "0", 0, id="no-limit-of-steps"),
        pytest.param("max_epochs", "3", 3, id="epochs"),
        pytest.param("report_every", "1", 1, id="report-every-step"),
        pytest.param("cpus", "16", 16, id="cpus"),
        pytest.param("batch_sizes", "auto", None, id="auto"),
        pytest.param("batch_sizes", "1", (1,), id="one-row"),
        pytest.param("batch_sizes", "32, 8,32", (32, 8), id="spaces-order-and-repetition"),
        pytest.param("learning_rates", "1e-3,0.1", (0.001, 0.1), id="scientific"),
        pytest.param("alphas", "0", (0.0,), id="no-penalty"),
        pytest.param("max_rows", "1000", 1000, id="rows"),
        pytest.param("grid", "auto", None, id="no-grid"),
        pytest.param("grid", '{"alpha": [0.1, 1], "solver": "sgd"}', {"alpha": [0.1, 1], "solver": ["sgd"]}, id="json"),
        pytest.param("search", "random", "random", id="random-search"),
        pytest.param("samples", "3", 3, id="samples"),
        pytest.param("max_trials", "1", 1, id="one-trial"),
        pytest.param("time_limit_s", "0.5", 0.5, id="half-a-second"),
        pytest.param("register", "none", None, id="not-registered"),
        pytest.param("register", " wine quality, é ", "wine quality, é", id="model-name"),
        pytest.param("register", "x" * 250, "x" * 250, id="longest-model-name"),
    ],
)
def test_option_takes_a_value_that_is_allowed(name: str, text: str, value: Any) -> None:
    """Also at the edge of what is allowed."""
    assert parsed(f"--{name}", text)[name] == value


@pytest.mark.parametrize(
    ("name", "text", "allowed", "default"),
    [
        pytest.param("folds", "1", "a whole number from 2", "10", id="one-fold"),
        pytest.param("folds", "ten", "a whole number from 2", "10", id="a-word"),
        pytest.param("folds", "2.5", "a whole number from 2", "10", id="a-fraction"),
        pytest.param("folds", "", "a whole number from 2", "10", id="empty"),
        pytest.param("seed", "-1", "a whole number from 0", "0", id="negative-seed"),
        pytest.param("max_steps", "-1", "auto or a whole number from 0", "auto", id="negative-steps"),
        pytest.param("max_epochs", "inf", "auto or a whole number from 0", "auto", id="infinite-epochs"),
        pytest.param("report_every", "0", "a whole number from 1", "100", id="report-never"),
        pytest.param("cpus", "-2", "a whole number from 0", "0", id="negative-cpus"),
        pytest.param("max_rows", "1e3", "a whole number from 0", "0", id="exponent"),
        pytest.param("samples", "-1", "a whole number from 0", "0", id="negative-samples"),
        pytest.param("max_trials", "all", "a whole number from 0", "0", id="all-trials"),
        pytest.param("time_limit_s", "1h", "a number from 0", "0", id="a-unit"),
        pytest.param("time_limit_s", "inf", "a number from 0", "0", id="infinite-time"),
        *(
            pytest.param("register", name, f"{MODEL_NAME} is allowed", "none", id=f"model-name-{place}")
            for place, name in enumerate(("", "a/b", "a:1", "..", "x" * 251))
        ),
        pytest.param("search", "bayes", "grid or random is allowed", "grid", id="unknown-search"),
        pytest.param("search", "Random", "grid or random is allowed", "grid", id="other-case"),
        pytest.param("max_steps", "1" + "0" * 400, "auto or a whole number from 0", "auto", id="larger-than-any-float"),
        *(
            pytest.param(
                "batch_sizes", text, f"auto or {LIST}, each a whole number from 1", "auto", id=f"batch-sizes-{text}"
            )
            for text in ("0", "8,,16", "8;16", "8,auto")
        ),
        *(
            pytest.param(
                "learning_rates", text, f"{LIST}, each a number above 0", "0.1,0.01,0.001,0.0001", id=f"rates-{text}"
            )
            for text in ("0", "0.1,nan", "inf", "auto")
        ),
        pytest.param("alphas", "-0.1", f"{LIST}, each a number from 0", "0.001,0.01,0.1", id="negative-penalty"),
    ],
)
def test_option_refuses_another_value_in_one_sentence(name: str, text: str, allowed: str, default: str) -> None:
    """It names the option, what was given, what is allowed, and the default."""
    with pytest.raises(UserError) as raised:
        parsed(f"--{name}", text)
    message = raised.value.message
    assert message.startswith(f"{name}={text}: {allowed}")
    assert message.endswith(f"; leave it out for the default, {default}")
    assert "\n" not in message


def test_every_option_has_a_help_text_and_shows_its_default() -> None:
    """The command line explains itself."""

    @click.command()
    @study_options
    @limit_options
    def command(**values: Any) -> None: ...

    options = [param for param in command.params if isinstance(param, click.Option)]
    assert [option.name for option in options if not option.help] == []
    shown = re.sub(r"\s+", "", CliRunner().invoke(command, ["--help"]).output)
    assert [option.name for option in options if not re.search(rf"\[default:{option.default}[];]", shown)] == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        pytest.param("~nobody-at-all/mine.csv", "Could not determine home directory", id="nobody's-home"),
        pytest.param(f"{'x' * 300}.csv", "File name too long", id="long-name"),
    ],
)
def test_path_that_cannot_be_looked_for_is_refused_in_one_sentence(name: str, why: str) -> None:
    """The system's own answer stands in it."""
    with pytest.raises(UserError) as raised:
        parsed("--dataset", name)
    message = raised.value.message
    assert message.startswith(f"dataset={name}: it cannot be looked for (")
    assert why in message
    assert message.endswith("; give the path of a CSV or Parquet file that you may read")
    assert "\n" not in message


def test_grid_that_is_none_is_refused_with_the_text_that_was_given() -> None:
    """The rest of the sentence is that of the search space."""
    with pytest.raises(UserError, match=r"^grid=none\.yaml: it is neither a JSON object nor the path of a file "):
        parsed("--grid", "none.yaml")
