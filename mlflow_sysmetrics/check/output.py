"""What a check says: as text, Markdown, JSON or JUnit's XML, and in its MLflow run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
        names = ", ".join(each.name for each in self.judged if each.verdict == self.verdict)
        return f"{self.verdict}: {names if self.exit_code else 'nothing is worse'}"


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
    noise, seen = (f"{each:.{digits}f} {unit}" for each in (judged.noise, judged.seen))
    return f"{change} {unit}", f"{low} to {high} {unit}", noise, seen


def as_text(result: Result) -> str:
    lines = [*map(sentence, result.judged), f"{result.pairs} pairs, {result.how}"]
    return "\n  ".join([result.headline, *lines])


def as_markdown(result: Result) -> str:
    """Its first line is the verdict."""
    lines = ["| | verdict | change | between | pairs differ by |", "|---|---|---|---|---|"]
    for each in result.judged:
        numbers = ["", "", ""] if each.why else _amounts(each)[:3]
        lines.append(f"| `{each.name}` | {' | '.join([f'**{each.verdict}**', *numbers])} |")
    whys = [f"`{each.name}`: {each.why}." for each in result.judged if each.why]
    return "\n".join([f"**{result.headline}**", "", *lines, "", *whys, f"{result.pairs} pairs, {result.how}."])


def as_json(result: Result) -> str:
    about = {"verdict": result.verdict, "exit_code": result.exit_code, "pairs": result.pairs, "how": result.how}
    summaries = [{name: value for name, value in asdict(each).items() if value == value} for each in result.judged]
    return json.dumps({**about, "summaries": summaries, "runs": result.numbers}, indent=2)  # NaN is no JSON


def as_junit(result: Result) -> str:
    """A test for each summary; one that cannot be judged is an error."""
    suite = ElementTree.Element("testsuite", name="mlflow-sysmetrics check", tests=str(len(result.judged)))
    for verdict, kind in (("worse", "failure"), ("cannot be judged", "error")):
        suite.set(f"{kind}s", str(sum(each.verdict == verdict for each in result.judged)))
    for each in result.judged:
        case = ElementTree.SubElement(suite, "testcase", classname="check", name=each.name)
        if each.verdict in _CODES:
            kind = "failure" if each.verdict == "worse" else "error"
            ElementTree.SubElement(case, kind, message=sentence(each))
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


FORMATS = {"text": as_text, "markdown": as_markdown, "json": as_json, "junit": as_junit}


def log(client: MlflowClient, run: Run, result: Result) -> str:
    """Give the run of the check its verdict, and return the link of the view that compares the sides."""
    numbers, unit = ("change", "low", "high", "noise"), {"%": "percent", "sd": "sd"}
    found = {f"{each.name}/{name}_{unit[each.unit]}": getattr(each, name) for each in result.judged for name in numbers}
    found["pairs"] = float(result.pairs)
    metrics = [Metric(name, value, now_ms(), 0) for name, value in found.items() if value == value]
    about = {VERDICT: result.verdict, MLFLOW_RUN_NOTE: as_markdown(result)}
    about |= {f"{VERDICT}.{each.name}": each.verdict for each in result.judged}
    client.log_batch(run.run_id, metrics, tags=[RunTag(name, value) for name, value in about.items()])
    client.log_text(run.run_id, as_json(result), "check.json")
    names = [each.name for each in result.judged]
    wanted = f"tags.mlflow.parentRunId = '{run.run_id}' and {ui.tag(PAIR)} != '0'"
    columns = [ui.tag(SIDE), ui.tag(PAIR), *map(ui.metric, names)]
    sections = [ui.Section("Baseline and candidate", [ui.bars(each) for each in names])]
    title = f"Check: {result.headline}"
    page = ui.Page(title, wanted, sort_by=names[0], columns=columns, sections=sections, group_by=SIDE)
    return ui.save(client, run.experiment_id, run.run_id, {"check": page})["check"]
