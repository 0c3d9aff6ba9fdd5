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
_OF_JUNIT = {"worse": "failure", "cannot be judged": "error"}


@dataclass(frozen=True)
class Result:
    """The end of a check: all summaries as they were judged last, and the numbers of all runs."""

    summaries: Sequence[Judged]
    pairs: int
    how: str  # at once or in turn, and why
    runs: Mapping[str, Mapping[str, Sequence[float]]]  # by side and summary, a number a pair

    @property
    def verdict(self) -> str:
        """The worst of all: ``worse``, ``cannot be judged``, or ``passes``."""
        verdicts = {each.verdict for each in self.summaries}
        return next((worst for worst in _CODES if worst in verdicts), "passes")

    @property
    def exit_code(self) -> int:
        return _CODES.get(self.verdict, 0)

    @property
    def headline(self) -> str:
        names = ", ".join(each.name for each in self.summaries if each.verdict == self.verdict)
        return f"{self.verdict}: {names if self.exit_code else 'nothing is worse'}"

    @property
    def sentences(self) -> list[str]:
        return [*map(sentence, self.summaries), f"{self.pairs} pairs, {self.how}"]


def sentence(judged: Judged) -> str:
    """A summary in a line."""
    said = f"{judged.name}: {judged.verdict}, "
    if judged.why:
        return said + judged.why
    digits, unit = (".1f", " %") if judged.unit else (".3g", "")
    change, low, high = (f"{each:+{digits}}" for each in (judged.change, judged.low, judged.high))
    said += f"{change}{unit} ({low} to {high}{unit}); pairs differ by {judged.noise:{digits}}{unit}"
    said += f", seeds by {judged.spread:{digits}}" * bool(judged.spread)
    return said + f"; {judged.seen:{digits}}{unit} would have been found" * (judged.verdict == "cannot be judged")


def as_text(result: Result) -> str:
    return "\n  ".join([result.headline, *result.sentences])


def as_markdown(result: Result) -> str:
    return "\n- ".join([f"**{result.headline}**\n", *result.sentences])


def as_json(result: Result) -> str:
    return json.dumps({"verdict": result.verdict, "exit_code": result.exit_code, **asdict(result)}, indent=2)


def as_junit(result: Result) -> str:
    """A test for each summary; one that cannot be judged is an error."""
    suite = ElementTree.Element("testsuite", name="mlflow-sysmetrics check", tests=str(len(result.summaries)))
    for each in result.summaries:
        case = ElementTree.SubElement(suite, "testcase", classname="check", name=each.name)
        if each.verdict in _OF_JUNIT:
            ElementTree.SubElement(case, _OF_JUNIT[each.verdict], message=sentence(each))
    for kind in _OF_JUNIT.values():
        suite.set(f"{kind}s", str(len(suite.findall(f"*/{kind}"))))
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


FORMATS = {"text": as_text, "markdown": as_markdown, "json": as_json, "junit": as_junit}


def log(client: MlflowClient, run: Run, result: Result) -> str:
    """End the run of the check with its verdict, and return the link of the view that compares the sides."""
    client.set_terminated(run.run_id)
    names = [each.name for each in result.summaries]
    metrics = [
        Metric(f"{each.name}/{name}{'_percent' * bool(each.unit)}", getattr(each, name), now_ms(), 0)
        for each in result.summaries
        for name in ("change", "low", "high", "noise")
    ]
    metrics.append(Metric("pairs", result.pairs, now_ms(), 0))
    tags = {VERDICT: result.verdict, MLFLOW_RUN_NOTE: as_markdown(result)}
    tags |= {f"{VERDICT}.{each.name}": each.verdict for each in result.summaries}
    client.log_batch(run.run_id, metrics, tags=[RunTag(*each) for each in tags.items()])
    client.log_text(run.run_id, as_json(result), "check.json")
    wanted = f"tags.mlflow.parentRunId = '{run.run_id}' and {ui.tag(PAIR)} != '0'"
    columns = [ui.tag(SIDE), ui.tag(PAIR), *map(ui.metric, names)]
    sections = [ui.Section("Baseline and candidate", [ui.bars(each) for each in names])]
    title = f"Check: {result.headline}"
    page = ui.Page(title, wanted, sort_by=names[0], columns=columns, sections=sections, group_by=SIDE)
    return ui.save(client, run.experiment_id, run.run_id, {"check": page})["check"]
