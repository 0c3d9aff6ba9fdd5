"""`mlflow-sysmetrics check --url` of two endpoints that run: real servers, and the verdict on their times."""

import json
import shlex

import pytest
from cases import cases, rows
from click.testing import CliRunner
from endpoints import one_at_a_time

from mlflow_sysmetrics.command.cli import main


@pytest.fixture
def check_endpoints(store_in_use, tmp_path):
    """Run a check to its end."""
    body = tmp_path / "request.json"
    body.write_text("[1]")

    def run(line, code):
        line = line.format(body=body)
        result = CliRunner().invoke(main, ["check", "--url", *shlex.split(line)])
        assert result.exit_code == code, result.output
        return result.stdout or result.stderr

    return run


@pytest.mark.slow
@cases(
    "candidate_s, code, verdict",
    {"slower": (0.04, 1, "worse"), "as fast": (0.02, 0, "passes"), "faster": (0.01, 0, "better")},
)
def test_endpoint_that_answers_later_is_worse(check_endpoints, store_in_use, candidate_s, code, verdict):
    """Each side of each pair has a run below that of the check."""
    with one_at_a_time(each_s=0.02) as old, one_at_a_time(each_s=candidate_s) as new:
        options = "--body {body} --tolerate served_p50_ms=30% --format json"  # beside other tests
        said = json.loads(check_endpoints(f"{old.url} {new.url} {options}", code))
    (time,) = said["metrics"]
    assert (time["name"], time["verdict"]) == ("served_p50_ms", verdict)
    below = store_in_use.search_runs(["0"], "tags.`sysmetrics.side` = 'candidate'")
    measured = said["runs"]["candidate"]["served_p50_ms"]
    assert sorted(run.data.metrics["served_p50_ms"] for run in below) == sorted(measured)


@pytest.mark.slow
def test_endpoint_that_cannot_keep_up_with_a_rate_is_worse(check_endpoints):
    with one_at_a_time(each_s=0.001) as old, one_at_a_time(each_s=0.05) as new:
        said = json.loads(check_endpoints(f"{old.url} {new.url} --body {{body}} --rate 40 --format json", code=1))
    verdicts = {metric["name"]: metric["verdict"] for metric in said["metrics"]}
    assert verdicts["served_answered_per_s"] == "worse"


@cases("dies, code", {"baseline": ([0, 10**9], 3), "candidate": ([10**9, 0], 1)})
def test_endpoint_that_does_not_answer_decides_the_exit_code(check_endpoints, dies, code):
    with one_at_a_time(dies_after=dies[0]) as old, one_at_a_time(dies_after=dies[1]) as new:
        assert "did not answer" in check_endpoints(f"{old.url} {new.url} --body {{body}}", code)


@cases("line, why", rows(__file__, "refused_endpoints.txt"))
def test_mistake_is_a_sentence(check_endpoints, line, why):
    assert why in check_endpoints(line, code=2).splitlines()[-1]
