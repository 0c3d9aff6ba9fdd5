"""Does a program cost more than its baseline, or log worse metrics?"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from mlflow_gate.check import verdict
from mlflow_gate.check.budget import Budget
from mlflow_gate.check.contest import BASELINE, CANDIDATE, compare, sharing_the_error, with_tolerances
from mlflow_gate.check.output import Result
from mlflow_gate.check.programs import Program, Programs
from mlflow_gate.check.verdict import ComparedMetric
from mlflow_gate.check.worktrees import in_worktrees, repository_of
from mlflow_sysmetrics.command.run import script_of


def check_programs(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    baseline_command: str | None,
    baseline_commit: str | None,
    setup: str | None,
    metrics: Mapping[str, bool],
    phase: str | None,
    tolerate: str,
    wall_time: bool,
    max_pairs: int,
    max_minutes: float,
) -> Result:
    """Compare a program with its baseline until each metric is decided; record it in MLflow.

    `metrics` are those that the program logs, and whether higher is better; `phase` is one that it has to record, by
    default the training, if both sides do. click.ClickException: what was given is
    wrong, a program failed, or the store does not answer.
    """
    if bool(baseline_command) == (baseline_commit is not None):
        raise click.UsageError("give one of --baseline-command and --baseline-commit")
    if setup and baseline_commit is None:
        raise click.UsageError("--setup prepares the code of a commit: give --baseline-commit with it")
    costs = [verdict.CPU, verdict.PEAK_RSS, verdict.MEMORY]
    why_in_turn = ""
    if wall_time:
        costs.append(verdict.TIME)
        why_in_turn = "wall time is asked for"
    logged = [ComparedMetric(name, higher_is_better=is_better) for name, is_better in metrics.items()]
    cpu_of_phase = verdict.cpu_of_phase(phase or verdict.TRAINING_PHASE)
    compared = with_tolerances([*costs, *logged, cpu_of_phase], tolerate)
    in_pairs = Programs([], why_in_turn, metrics=compared)
    if not phase:
        *required, training = compared
        in_pairs = replace(in_pairs, metrics=sharing_the_error(required), phase=training)
    name = Path(script_of(command)).name
    params = {"command": shlex.join(command), "baseline": baseline_commit or baseline_command}
    candidate = Program(CANDIDATE, command, Path.cwd(), environment)
    if baseline_command:
        baseline = replace(candidate, side=BASELINE, command=_words(baseline_command))
        return compare(replace(in_pairs, programs=[baseline, candidate]), name, params, Budget(max_pairs, max_minutes))
    repository = repository_of(candidate.folder)
    with in_worktrees(candidate, repository, str(baseline_commit), setup) as programs:
        return compare(
            replace(in_pairs, programs=programs, repository=repository), name, params, Budget(max_pairs, max_minutes)
        )


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise click.UsageError(f"--baseline-command {command!r}: {error}") from None
