"""What is said of the machines that studies ran on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from commands import store_uri
from mlflow import MlflowClient
from mlflow.entities import Run, RunData, RunInfo, RunTag

from benchmarks.report_scale import fill
from entrypoints.reporting import hosts
from entrypoints.reporting.one_study.questions import findings
from entrypoints.reporting.selection import by_ids
from entrypoints.reporting.studies import Study

OLD, NEW = {"cpu_model": ("old",), "usable_cores": ("4",)}, {"cpu_model": ("new",), "usable_cores": ("4",)}
MIXED = {"cpu_model": ("new", "old"), "usable_cores": ("4",)}
WIDE = OLD | {"usable_cores": ("8",)}
LATER, UPDATED = OLD | {"os": ("Linux 6.1",)}, OLD | {"os": ("Linux 6.2",)}


def _study(facts: dict[str, tuple[str, ...]], criteria: str | None = None) -> Study:
    tags = [RunTag("sysmetrics.criteria", criteria)] if criteria else []
    run = Run(RunInfo("1" * 32, "0", "me", "FINISHED", 0, 1, "active", run_name="a study"), RunData(tags=tags))
    return Study(run, pd.DataFrame(), pd.DataFrame(), [], "val_rmse", False, hosts=facts)


@pytest.mark.parametrize(
    ("facts", "differing", "says"),
    [
        pytest.param([OLD, OLD], [], "", id="one host"),
        pytest.param([{}, {}], [], "", id="unknown"),
        pytest.param([OLD, NEW], ["cpu_model"], "a ran on old; b ran on new:", id="processors"),
        pytest.param(
            [OLD, WIDE], ["usable_cores"], "a ran on usable_cores 4; b ran on usable_cores 8:", id="one processor"
        ),
        pytest.param([OLD, MIXED], ["cpu_model"], "a ran on old; b ran on new or old:", id="one of several"),
        pytest.param(
            [OLD, {}],
            ["cpu_model", "usable_cores"],
            "a ran on old, usable_cores 4; b ran on unknown, usable_cores unknown:",
            id="one unknown",
        ),
    ],
)
def test_hosts_that_differ_are_named_before_their_costs_are_compared(
    facts: list[dict[str, tuple[str, ...]]], differing: list[str], says: str
) -> None:
    """By the facts in which they differ, the processor by its name alone; nothing is said of equal ones."""
    studies = [_study(each) for each in facts]
    assert hosts.differing(studies) == differing
    told = hosts.compared(dict(zip("ab", studies, strict=True)))
    assert told == (f"Hosts differ: {says} their costs are compared, never pooled." if says else "")


def test_updated_system_makes_no_other_host() -> None:
    """It is named as what differs, since costs may depend on it, too; with another processor hosts differ."""
    before, after = _study(LATER), _study(UPDATED, "elapsed_s<=9")
    assert hosts.compared({"a": before, "b": after}) == (
        "Systems differ: a ran on os Linux 6.1; b ran on os Linux 6.2: their costs are compared, never pooled."
    )
    assert hosts.of_savings(before, [after]) == [
        "What `elapsed_s<=9` saves on one system: a study ran on os Linux 6.2, the full study on os Linux 6.1, so the "
        "CPU and wall time that it saved compare two systems."
    ]
    assert hosts.of_several(_study(OLD | {"os": ("Linux 6.1", "Linux 6.2")})) == (
        "Its trials ran on systems that differ (os Linux 6.1 or Linux 6.2): what a trial costs also depends on its "
        "system."
    )
    assert hosts.compared({"a": before, "b": _study(UPDATED | NEW)}).startswith("Hosts differ: a ran on old, os ")


def test_study_on_several_hosts_says_so() -> None:
    """Its trials ran on either; of one host nothing is said."""
    assert hosts.of_several(_study(OLD)) == ""
    assert hosts.of_several(_study(MIXED)) == (
        "Its trials ran on hosts that differ (new or old): what a trial costs also depends on its host."
    )


def test_savings_on_another_host_are_an_open_question(empty_store: Path) -> None:
    """A study under limits there is named beside the full one; one on the same host is not."""
    client = MlflowClient(store_uri(empty_store))
    (study,) = by_ids(client, [fill(store_uri(empty_store), 8)])
    there = replace(study, run=_study(NEW, "elapsed_s<=9").run, hosts=NEW)
    told = findings(client, [replace(study, hosts=OLD), there]).open_questions
    assert told[0] == (
        "What `elapsed_s<=9` saves on one host: a study ran on new, the full study on old, so the CPU and wall time "
        "that it saved compare two hosts."
    )
    assert hosts.of_savings(replace(study, hosts=NEW), [there]) == []
