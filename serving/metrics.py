"""Prometheus metrics of the versions that serve; BentoML's ``/metrics`` shows them beside its own."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge

__all__ = ["ServingMetrics", "serving_metrics"]


@dataclass(frozen=True)
class ServingMetrics:
    """The metrics; the process has each once."""

    champion: "Gauge"
    """By ``surface``, as the next two: number of the version that answers."""
    swaps: "Counter"
    """By ``outcome``: ``swapped``, ``rolled_back`` or ``refused``."""
    alerts: "Gauge"
    """By ``kind``: how many there are now of ``registry``, ``champion``, ``shadow`` and ``experiment``."""
    shadow_queries: "Counter"
    """By ``surface``, ``version`` and ``outcome``, as :class:`serving.shadow.Shadow` counts them."""
    feedback: "Counter"
    """Events by ``outcome``: ``stored``, ``duplicate`` or ``refused``."""
    late_feedback: "Counter"
    """Stored events that came more than an hour after they happened."""


@cache
def serving_metrics() -> ServingMetrics:
    """The process's metrics, made at the first call."""
    # Not before: a worker of BentoML's learns only when it starts where the metrics of all workers are gathered.
    from prometheus_client import Counter, Gauge

    return ServingMetrics(
        Gauge("backbeat_serving_champion", "Version that answers", ["surface"], multiprocess_mode="mostrecent"),
        Counter("backbeat_serving_swaps", "Champions that the service took or refused", ["surface", "outcome"]),
        Gauge("backbeat_serving_alerts", "What is wrong now", ["surface", "kind"], multiprocess_mode="mostrecent"),
        Counter(
            "backbeat_shadow_queries", "Served requests, by what became of them", ["surface", "version", "outcome"]
        ),
        Counter("backbeat_feedback_events", "Events on served lists, by what became of them", ["outcome"]),
        Counter("backbeat_feedback_late_events", "Stored events that came long after they happened"),
    )
