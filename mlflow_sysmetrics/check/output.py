"""What a check says: as text, Markdown, JSON or JUnit's XML, and in its MLflow run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from xml.etree import ElementTree

from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from mlflow_sysmetrics import ui
from mlflow_sysmetrics.check.verdict import Judged
from mlflow_sysmetrics.command.follow import Run
from mlflow_sysmetrics.delivery import now_ms
from mlflow_sysmetrics.tags import PAIR, SIDE, VERDICT

_CODES = {"worse": 1, "cannot be judged": 3}


@dataclass(frozen=True)
class Result:
    """The end of a check: all summaries as they were judged last, and the numbers of all runs by side."""

    judged: Sequence[Judged]
    pairs: int
    how: str  # at once or in turn, and why
    note: str
    numbers: Mapping[str, Mapping[str, Sequence[float]]]  # by side and summary, a number a pair

    @property
    def verdict(self) -> str:
        """The worst of all: ``worse``, ``cannot be judged``, or ``passes``."""
        verdicts = {each.verdict for each in self.judged}
        return next((worst for worst in _CODES if worst in verdicts), "passes")

    @property
    def exit_code(self) -> int:
        return _CODES.get(self.verdict, 0)

    @property
    def headline(self) -> str:
        names = [each.name for each in self.judged if each.verdict == self.verdict]
        said = {"worse": "worse: ", "cannot be judged": "cannot be judged: "}.get(self.verdict)
        return f"{said}{', '.join(names)}" if said else "passes: nothing is worse"


def sentence(judged: Judged) -> str:
    """A summary in a line."""
    if judged.why:
        return f"{judged.name}: {judged.verdict}, {judged.why}"
    change, between, noise, seen = _amounts(judged)
    said = f"{judged.name}: {judged.verdict}, {change} ({between}); pairs differ by {noise}"
    return f"{said}; {seen} would have been found" if judged.verdict == "cannot be judged" else said


def _amounts(judged: Judged) -> tuple[str, str, str, str]:
    """The change, its interval, the noise, and what would have been found."""
    unit, digits = judged.unit, 1 if judged.unit == "%" else 2
    change, low, high = (f"{each:+.{digits}f}" for each in (judged.change, judged.low, judged.high))
    return (
        f"{change} {unit}",
        f"{low} to {high} {unit}",
        f"{judged.noise:.{digits}f} {unit}",
        f"{judged.seen:.{digits}f} {unit}",
    )


def as_text(result: Result) -> str:
    lines = [result.headline, *(f"  {sentence(each)}" for each in result.judged)]
    return "\n".join([*lines, f"  {result.pairs} pairs, {result.how}", *([f"  {result.note}"] if result.note else [])])


def as_markdown(result: Result) -> str:
    """Its first line is the verdict."""
    table = ["| | verdict | change | between | pairs differ by |", "|---|---|---|---|---|"]
    for each in result.judged:
        numbers = ["", "", ""] if each.why else _amounts(each)[:3]
        table.append(f"| `{each.name}` | {' | '.join([f'**{each.verdict}**', *numbers])} |")
    whys = [f"`{each.name}`: {each.why}." for each in result.judged if each.why]
    last = [*whys, f"{result.pairs} pairs, {result.how}.", *([f"{result.note}."] if result.note else [])]
    return "\n".join([f"**{result.headline}**", "", *table, "", *last])


def as_json(result: Result) -> str:
    summaries = [{name: _finite(value) for name, value in asdict(each).items()} for each in result.judged]
    about = {"verdict": result.verdict, "exit_code": result.exit_code, "pairs": result.pairs, "how": result.how}
    return json.dumps({**about, "note": result.note, "summaries": summaries, "runs": result.numbers}, indent=2)


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_junit(result: Result) -> str:
    """A test for each summary; one that cannot be judged is an error."""
    counts = {"worse": "failures", "cannot be judged": "errors"}
    suite = ElementTree.Element("testsuite", name="mlflow-sysmetrics check", tests=str(len(result.judged)))
    for verdict, attribute in counts.items():
        suite.set(attribute, str(sum(each.verdict == verdict for each in result.judged)))
    for each in result.judged:
        case = ElementTree.SubElement(suite, "testcase", classname="check", name=each.name)
        if each.verdict in counts:
            ElementTree.SubElement(case, counts[each.verdict].rstrip("s"), message=sentence(each))
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


FORMATS: Mapping[str, Callable[[Result], str]] = {
    **{"text": as_text, "markdown": as_markdown, "json": as_json, "junit": as_junit}
}


def log(client: MlflowClient, run: Run, result: Result) -> str:
    """Give the run of the check its verdict, and return the link of the view that compares the sides."""
    moment = now_ms()
    numbers, unit = ("change", "low", "high", "noise"), {"%": "percent", "sd": "sd"}
    found = {f"{each.name}/{name}_{unit[each.unit]}": getattr(each, name) for each in result.judged for name in numbers}
    found["pairs"] = float(result.pairs)
    metrics = [Metric(name, value, moment, 0) for name, value in found.items() if math.isfinite(value)]
    about = {VERDICT: result.verdict, MLFLOW_RUN_NOTE: as_markdown(result)}
    about |= {f"{VERDICT}.{each.name}": each.verdict for each in result.judged}
    client.log_batch(run.run_id, metrics, tags=[RunTag(name, value) for name, value in about.items()])
    client.log_text(run.run_id, as_json(result), "check.json")
    return ui.save(client, run.experiment_id, run.run_id, {"check": _page(run, result)})["check"]


def _page(run: Run, result: Result) -> ui.Page:
    names = [each.name for each in result.judged]
    wanted = f"tags.mlflow.parentRunId = '{run.run_id}' and {ui.tag(PAIR)} != '0'"
    columns = [ui.tag(SIDE), ui.tag(PAIR), *map(ui.metric, names)]
    sections = [ui.Section("Baseline and candidate", [ui.bars(each) for each in names])]
    return ui.Page(f"Check: {result.headline}", wanted, sort_by=names[0], columns=columns, sections=sections)
