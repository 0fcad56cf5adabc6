"""Counters and gauges of CloudWatch, written as log lines. There is no call to AWS that could fail or take time."""

from aws_lambda_powertools import Logger, single_metric
from aws_lambda_powertools.metrics import MetricUnit

NAMESPACE = "Lamplighter"

logger = Logger(service="lamplighter")


def count(metric: str, number: int = 1, **dimensions: str) -> None:
    """Counts `number` in the metric `metric`."""
    _write(metric, MetricUnit.Count, number, dimensions)


def gauge(metric: str, value: float, **dimensions: str) -> None:
    """Sets the metric `metric` to a number without a unit."""
    _write(metric, MetricUnit.NoUnit, value, dimensions)


def _write(metric: str, unit: MetricUnit, value: float, dimensions: dict[str, str]) -> None:
    with single_metric(metric, unit, value, namespace=NAMESPACE) as one:
        for name, text in dimensions.items():
            one.add_dimension(name, text)
