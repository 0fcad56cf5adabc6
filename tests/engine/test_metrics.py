"""A metric has the dimensions that its caller gives it, as the pages name them, whatever Lambda it is written in."""

import json

import pytest

from chalicelib.engine import metrics


def test_a_metric_has_its_callers_dimensions_and_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # As in every Lambda of the template.
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "schedules_tick")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Lamplighter")
    metrics.count("Alert", 2, kind="Failed")
    metrics.gauge("ReplicaLagAtMost", 1.5, region="eu-west-1")
    metrics.count("Action", kind="restart", trigger="manual")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = [(one["_aws"]["CloudWatchMetrics"], {key: value for key, value in one.items() if key != "_aws"})
             for one in lines]
    assert found == [
        ([{"Namespace": "Lamplighter", "Dimensions": [["kind"]], "Metrics": [{"Name": "Alert", "Unit": "Count"}]}],
         {"kind": "Failed", "Alert": [2.0]}),
        ([{"Namespace": "Lamplighter", "Dimensions": [["region"]],
           "Metrics": [{"Name": "ReplicaLagAtMost", "Unit": "None"}]}],
         {"region": "eu-west-1", "ReplicaLagAtMost": [1.5]}),
        ([{"Namespace": "Lamplighter", "Dimensions": [["kind", "trigger"]],
           "Metrics": [{"Name": "Action", "Unit": "Count"}]}],
         {"kind": "restart", "trigger": "manual", "Action": [1.0]})]
    assert all(one["_aws"]["Timestamp"] > 1_600_000_000_000 for one in lines)
