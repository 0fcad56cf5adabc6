"""Metrics. A Lambda's output in CloudWatch's embedded metric format becomes a metric, as on AWS."""

import json
from collections.abc import Iterator
from typing import Any

from sandbox.emulator_patches import Context, change


def embedded(log: str) -> Iterator[tuple[str, str, float, str, dict[str, str]]]:
    """(namespace, name, value, unit, dimensions) of each metric that the lines of `log` carry."""
    for line in log.splitlines():
        record = _record(line)
        for directive in record.get("_aws", {}).get("CloudWatchMetrics", ()):
            for names in directive.get("Dimensions") or [[]]:
                dimensions = {name: str(record[name]) for name in names if name in record}
                yield from _metrics(directive, record, dimensions)


def _record(line: str) -> dict[str, Any]:
    if '"_aws"' not in line:
        return {}
    try:
        record = json.loads(line[line.index("{"):])
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _metrics(
    directive: dict[str, Any], record: dict[str, Any], dimensions: dict[str, str]
) -> Iterator[tuple[str, str, float, str, dict[str, str]]]:
    for metric in directive.get("Metrics", ()):
        values = record.get(metric["Name"], ())
        for value in values if isinstance(values, list) else [values]:
            yield directive["Namespace"], metric["Name"], float(value), metric.get("Unit", "None"), dimensions


@change("services.lambda_svc", "_emit_lambda_logs", "func request_id log_text error duration_ms log_source",
        "embedded metrics become metrics")
def emit(original: Any, context: Context) -> Any:
    from ministack.core import responses
    from ministack.services import cloudwatch, lambda_svc

    def logs(
        func: dict[str, Any], request_id: str, log_text: str, error: bool, duration_ms: int, *, log_source: Any = None
    ) -> None:
        original(func, request_id, log_text, error, duration_ms, log_source=log_source)
        account, region = lambda_svc._account_region_from_function_config(func.get("config") or func)
        with responses.request_scope(account, region):
            for namespace, name, value, unit, dimensions in embedded(log_text or ""):
                cloudwatch.record_metric(namespace, name, value, unit, dimensions)

    return logs
