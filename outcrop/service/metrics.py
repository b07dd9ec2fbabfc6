"""Metrics for Prometheus: requests by operation and outcome, their time, jobs by state, measured throughput."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from outcrop.jobs.queue import Queue
from outcrop.service.bedrock.arns import PROVISIONED
from outcrop.store.resources import ResourceTable

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class JobsByState(Collector):
    """Counts the jobs when somebody asks."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The family without its numbers, so that registering asks no database."""
        yield GaugeMetricFamily("outcrop_jobs", "Jobs that have not ended, by state", labels=["state"])

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The numbers of now."""
        family = next(self.describe())
        for state, count in Counts(job.state for job in self._queue.unfinished()).items():
            family.add_metric([state], count)
        yield family


class ProvisionedRates(Collector):
    """The rates that provisioned throughput was measured to give, by its id, which tells nobody whose it is."""

    def __init__(self, resources: ResourceTable) -> None:
        self._resources = resources

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The family without its numbers, so that registering asks no database."""
        text = "Tokens per minute that provisioned throughput was measured to give"
        yield GaugeMetricFamily("outcrop_provisioned_tokens_per_minute", text, labels=["id", "tokens"])

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The numbers of what is there now."""
        family = next(self.describe())
        for row in self._resources.everywhere(PROVISIONED.name, ("InService", "Updating")):
            rate = row.body.get("rate", {})
            for tokens in ("input", "output") if rate else ():
                family.add_metric([row.id, tokens], rate[f"{tokens}_tokens_per_minute"])
        yield family


class Metrics:
    """The metrics of one server. registry: other rooms may register theirs there."""

    def __init__(self, queue: Queue, resources: ResourceTable) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "outcrop_requests", "Requests answered", ["operation", "code"], registry=self.registry
        )
        self.seconds = Histogram(
            "outcrop_request_seconds", "Time to an answer", ["operation"], registry=self.registry, buckets=BUCKETS
        )
        self.open = Gauge("outcrop_open_requests", "Requests being answered", registry=self.registry)
        self.registry.register(JobsByState(queue))
        self.registry.register(ProvisionedRates(resources))

    def text(self) -> bytes:
        """All metrics as Prometheus reads them."""
        return generate_latest(self.registry)
