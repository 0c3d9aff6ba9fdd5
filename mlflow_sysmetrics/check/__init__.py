"""The gate: is a candidate worse than its baseline, in what it costs, in what it logs, or on the rows of a table?

Of programs `sides` are what is compared, and `pairs` measures; of models `models` does both, `losses` judges their
errors, and `promotion` moves an alias. `verdict` decides, `output` says it, `comparing` is the way through.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import click

from mlflow_sysmetrics.check import output, sides, verdict
from mlflow_sysmetrics.check.comparing import begin, in_pairs, recorded, with_tolerances
from mlflow_sysmetrics.check.pairs import Pairs
from mlflow_sysmetrics.check.sides import Side
from mlflow_sysmetrics.check.verdict import ComparedMetric
from mlflow_sysmetrics.command.run import script_of


def check(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    baseline_command: str | None,
    baseline_commit: str | None,
    setup: str | None,
    metrics: Mapping[str, bool],
    tolerate: str,
    wall_time: bool,
) -> output.Result:
    """Compare a program with its baseline until each metric is decided, or ten pairs have run; record it in MLflow.

    `metrics` are those that the program logs, and whether higher is better. click.ClickException: what was given is
    wrong, a program failed, or the store does not answer.
    """
    if bool(baseline_command) == bool(baseline_commit):
        raise click.UsageError("give one of --baseline-command and --baseline-commit")
    if setup and not baseline_commit:
        raise click.UsageError("--setup prepares the code of a commit: give --baseline-commit with it")
    why_in_turn = "wall time is asked for" if wall_time else ""
    costs = [verdict.CPU, verdict.PEAK_RSS, verdict.MEMORY]
    if wall_time:
        costs.append(verdict.TIME)
    logged = [ComparedMetric(name, higher_is_better=is_better) for name, is_better in metrics.items()]
    compared = with_tolerances([*costs, *logged], tolerate)
    candidate = Side("candidate", command, Path.cwd(), environment)
    to_compare: AbstractContextManager[list[Side]]
    if baseline_commit:
        to_compare = sides.of_commit(candidate, baseline_commit, setup)
    else:
        baseline = replace(candidate, name="baseline", command=shlex.split(str(baseline_command)))
        to_compare = nullcontext([baseline, candidate])
    with to_compare as both:
        params = {"command": shlex.join(command), "baseline": baseline_commit or baseline_command}
        run = begin(Path(script_of(command)).name, params)
        return recorded(run, lambda: in_pairs(Pairs(both, run, why_in_turn), compared))
