"""What a check says: as text, Markdown or JSON, and in its MLflow run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from mlflow_gate.check.verdict import BETTER, PASSES, UNDECIDED, WORSE, Finding
from mlflow_sysmetrics.delivery import Run
from mlflow_sysmetrics.recording.tags import VERDICT

_CODES = {WORSE: 1, UNDECIDED: 3}


@dataclass(frozen=True)
class Result:
    """The end of a check: all metrics as they were judged last, and the numbers of all runs."""

    metrics: Sequence[Finding]
    pairs: int
    how: str  # at once or in turn, and why
    runs: Mapping[str, Mapping[str, Sequence[float]]]  # by side and metric, a number a pair

    @property
    def verdict(self) -> str:
        """The worst of all: ``worse``, ``cannot be judged``, or ``passes``."""
        verdicts = {finding.verdict for finding in self.metrics}
        for worst in _CODES:
            if worst in verdicts:
                return worst
        return PASSES

    @property
    def exit_code(self) -> int:
        return _CODES.get(self.verdict, 0)

    @property
    def headline(self) -> str:
        if not self.exit_code:
            return f"{PASSES}: nothing is worse"
        names = [finding.name for finding in self.metrics if finding.verdict == self.verdict]
        return f"{self.verdict}: {', '.join(names)}"

    @property
    def sentences(self) -> list[str]:
        return [*map(sentence, self.metrics), f"{self.pairs} pairs, {self.how}"]


def sentence(finding: Finding) -> str:
    """What was found of a metric, such as ``cpu_seconds: better, 23.7 % less (20.1 to 27.0 %)``."""
    start = f"{finding.name}: {finding.verdict}, "
    if finding.why:
        return start + finding.why
    unit = f" {finding.unit}".rstrip()
    digits = ".1f" if unit else ".3g"

    def amount(change: float) -> str:
        return f"{abs(change):{digits}}{unit} {'less' if change < 0 else 'more'}"

    if finding.verdict in (WORSE, BETTER) and finding.low * finding.high > 0:
        nearest, farthest = sorted([abs(finding.low), abs(finding.high)])
        return f"{start}{amount(finding.change)} ({nearest:{digits}} to {farthest:{digits}}{unit})"
    said = f"{start}between {amount(finding.low)} and {amount(finding.high)}"
    if finding.verdict != UNDECIDED:
        return said
    few = "rows" if finding.rows else "pairs"
    if finding.unit == "%" and finding.detectable >= 100:
        said += "; no change could be found in this noise"
    else:
        said += f"; in so few {few} with this noise only a change of {finding.detectable:{digits}}{unit} would be found"
    if finding.rows:
        said += f", about {float(f'{finding.rows:.2g}'):,.0f} rows would tell"
    return said


def as_text(result: Result) -> str:
    return "\n  ".join([result.headline, *result.sentences])


def as_markdown(result: Result) -> str:
    return "\n- ".join([f"**{result.headline}**\n", *result.sentences])


def as_json(result: Result) -> str:
    return json.dumps({"verdict": result.verdict, "exit_code": result.exit_code, **asdict(result)}, indent=2)


FORMATS = {"text": as_text, "markdown": as_markdown, "json": as_json}


def record(run: Run, result: Result) -> None:
    """Write the verdict into the run of the check."""
    tags = {VERDICT: result.verdict, MLFLOW_RUN_NOTE: as_markdown(result)}
    for finding in result.metrics:
        tags[f"{VERDICT}.{finding.name}"] = finding.verdict
    run.log(summary={"pairs": result.pairs}, tags=tags)
