"""The state of the mesh as Prometheus metrics, counted in Postgres when asked: every process gives the same answer."""

from collections.abc import Iterable

from django.db.models import Count, Min
from django.utils import timezone
from prometheus_client.core import CollectorRegistry, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from apps.aggregation.models import Heartbeat
from apps.clients.models import Client
from apps.rounds.models import IN_WORK_STATES, Round, Update


class MeshCollector(Collector):
    """Counts rows by state, and how long the oldest work has been waiting."""

    def collect(self) -> Iterable[Metric]:
        """One family a kind of row."""
        yield by_state("boltz_clients", "Clients by state", Client)
        yield by_state("boltz_rounds", "Rounds by state", Round)
        yield by_state("boltz_updates", "Updates by state", Update)
        oldest = Update.objects.filter(state__in=IN_WORK_STATES).aggregate(at=Min("received_at"))["at"]
        waiting = (timezone.now() - oldest).total_seconds() if oldest else 0.0
        yield GaugeMetricFamily("boltz_oldest_waiting_update_seconds", "Age of the oldest undecided update", waiting)
        beats = GaugeMetricFamily(
            "boltz_heartbeat_age_seconds", "Seconds since a kind of process was seen", labels=["kind"]
        )
        for heartbeat in Heartbeat.objects.all():
            beats.add_metric([heartbeat.kind], (timezone.now() - heartbeat.at).total_seconds())
        yield beats


def by_state(name: str, text: str, model: type[Client] | type[Round] | type[Update]) -> Metric:
    """The rows of a table by their state."""
    family = GaugeMetricFamily(name, text, labels=["state"])
    for state, count in model.objects.order_by().values_list("state").annotate(n=Count("pk")):
        family.add_metric([state], count)
    return family


def mesh_metrics() -> CollectorRegistry:
    """A registry with the mesh's metrics and nothing of this process."""
    registry = CollectorRegistry()
    registry.register(MeshCollector())
    return registry
