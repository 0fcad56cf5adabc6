"""Counters and gauges of CloudWatch, written as log lines. There is no call to AWS that could fail or take time."""

import json
import sys
import time

from aws_lambda_powertools import Logger

NAMESPACE = "Lamplighter"

logger = Logger(service="lamplighter")


def count(metric: str, number: int = 1, **dimensions: str) -> None:
    """Counts `number` in the metric `metric`."""
    _write(metric, "Count", number, dimensions)


def gauge(metric: str, value: float, **dimensions: str) -> None:
    """Sets the metric `metric` to a number without a unit."""
    _write(metric, "None", value, dimensions)


def _write(metric: str, unit: str, value: float, dimensions: dict[str, str]) -> None:
    """One line of the embedded metric format ("Specification: Embedded metric format", CloudWatch user guide).

    The dimensions are those of the caller and no others. Powertools adds the Lambda's name as `service`, so that nobody
    could find a metric by the dimensions that the pages name.
    """
    metrics = {"Namespace": NAMESPACE, "Dimensions": [list(dimensions)], "Metrics": [{"Name": metric, "Unit": unit}]}
    line = json.dumps({"_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [metrics]},
                       **dimensions, metric: [float(value)]}, separators=(",", ":"))
    sys.stdout.write(f"{line}\n")
