"""The commands' options: what is allowed, what becomes of it, and the sentence for what is not."""

import re
from pathlib import Path

from cases import cases, tables
from commands import invoke
from records import parsed

from entrypoints.options.settings import as_typed, main_options, report_options
from entrypoints.report import report
from entrypoints.tune import tune

TABLES = tables(__file__, "options.yaml")


@cases("name, text, value", TABLES["taken"])
def test_option_takes_a_value_that_is_allowed(name, text, value):
    """Also at the edge of what is allowed."""
    assert parsed(f"--{name}", text)[name] == value


def test_studies_are_named_each_once():
    """In the order in which they are given."""
    assert parsed("--study", "b, a,b", options=report_options)["study"] == ("b", "a")


@cases("name, text", TABLES["typed"].items())
def test_option_is_written_as_it_is_typed(name, text):
    """In a run's parameters, and for the commands that main starts."""
    assert as_typed(parsed(f"--{name}", text))[name] == text


def test_defaults_are_written_as_they_would_be_typed():
    """All of them."""
    assert as_typed(parsed()) == {option.name: str(option.default) for option in tune.params}


@cases("given, steps", TABLES["lengths"])
def test_length_is_what_was_given_and_else_the_default(given, steps):
    """In steps, which an epoch may have many of."""
    length = parsed("--length", given)["length"]
    assert [length.in_steps(epoch_steps) for epoch_steps in (20, 1000)] == steps


def test_every_option_has_a_help_text_and_shows_its_default():
    """The command line explains itself."""
    for command in (tune, report):
        shown = re.sub(r"\s+", "", invoke(command, "--help").output)
        for option in command.params:
            assert option.help, option.name
            assert f"[default:{option.default}]" in shown, option.name


@cases("text, names", TABLES["datasets"])
def test_datasets_are_names_separated_by_commas(text, names, tmp_path, monkeypatch):
    """In the order in which they are given."""
    monkeypatch.chdir(tmp_path)
    for name in ("a,b.csv", "b.csv", "red_wine"):
        Path(name).touch()
    found = parsed("--dataset", text, options=main_options)["dataset"]
    assert [name.replace(str(tmp_path), "HERE") for name in found] == names
