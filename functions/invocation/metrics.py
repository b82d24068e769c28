"""Metrics in CloudWatch's embedded format: lines of the log, so that nothing has to be sent before the freeze."""

from __future__ import annotations

from aws_lambda_powertools.metrics import Metrics, MetricUnit

NAMESPACE = "Manifold"

_metrics = Metrics(namespace=NAMESPACE, service="manifold")


def start(function: str) -> None:
    """Begin an invocation's measurements. All of them bear the function's name, as Lambda has it."""
    _metrics.clear_metrics()
    _metrics.add_dimension("function", function)


def milliseconds(name: str, seconds: float) -> None:
    _metrics.add_metric(name, MetricUnit.Milliseconds, round(seconds * 1000, 3))


def count(name: str, number: int) -> None:
    _metrics.add_metric(name, MetricUnit.Count, number)


def seconds(name: str, number: float) -> None:
    _metrics.add_metric(name, MetricUnit.Seconds, round(number, 3))


def flush() -> None:
    """Write what was measured, as one line, before the answer is given."""
    if _metrics.metric_set:
        _metrics.flush_metrics()
    _metrics.clear_metrics()
