"""Every Prometheus metric of the platform, in one place; recorded at the layer edges.

Three are elsewhere: nothing is recorded, and who knows is asked at each scrape, in ``gpus.py`` (the driver),
``disks.py`` (the system) and ``rpc/certificates.py`` (listeners, and the gateway towards services).
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, PlatformCollector
from prometheus_client.process_collector import ProcessCollector

# Seconds. Fine steps where an n-gram or a proxied call lives, coarse ones where a diffusion run does.
_SECONDS: tuple[float, ...] = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one process, on a registry of its own.

    Where ``service`` is the only label it is bound already: ``metrics.queue_depth.set(3)``.
    """

    def __init__(self, service: str) -> None:
        self.service = service
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._declare_requests()
        self._declare_models()
        self._declare_generation()
        self._declare_images()
        self._declare_projections()
        self._declare_datasets()
        self._declare_jobs()
        self._declare_gateway()

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"pequod_{name}", help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(f"pequod_{name}", help_text, labels, registry=self.registry)

    def _histogram(
        self, name: str, help_text: str, *labels: str, buckets: tuple[float, ...] = _SECONDS
    ) -> Histogram:
        return Histogram(f"pequod_{name}", help_text, labels, registry=self.registry, buckets=buckets)

    def _declare_requests(self) -> None:
        self.requests = self._counter("requests", "Finished calls.", "service", "method", "code")
        self.request_seconds = self._histogram(
            "request_seconds", "Seconds from a call's arrival to its end.", "service", "method"
        )
        self.queue_seconds = self._histogram(
            "queue_seconds", "Seconds a request waited before its work began.", "service"
        ).labels(self.service)
        self.queue_depth = self._gauge("queue_depth", "Requests waiting now.", "service").labels(self.service)
        self.queue_dropped = self._counter(
            "queue_dropped", "Requests that left the queue unserved.", "service", "reason"
        )
        self.batch_rows = self._histogram(
            "batch_rows", "Rows that shared one engine step.", "service", buckets=_ROWS
        ).labels(self.service)

    def _declare_models(self) -> None:
        self.compute_seconds = self._histogram("compute_seconds", "Seconds of one engine step.", "model")
        self.model_loaded = self._gauge("model_loaded", "1 while the version serves.", "model", "version")
        self.model_memory_bytes = self._gauge(
            "model_memory_bytes", "Bytes a loaded version holds.", "model", "version"
        )
        self.model_loads = self._counter("model_loads", "Finished loads.", "model", "outcome")

    def _declare_generation(self) -> None:
        self.time_to_first_token_seconds = self._histogram(
            "time_to_first_token_seconds", "Seconds from arrival to the first token.", "model"
        )
        self.inter_token_seconds = self._histogram(
            "inter_token_seconds",
            "Seconds between tokens of one sequence, averaged over those that came together.",
            "model",
            buckets=(1e-6, 1e-5, 1e-4, *_SECONDS),
        )
        self.prompt_tokens = self._counter("prompt_tokens", "Tokens read from prompts.", "model")
        self.generated_tokens = self._counter("generated_tokens", "Tokens generated.", "model")
        self.kv_cache_used_ratio = self._gauge(
            "kv_cache_used_ratio", "Share of the KV cache in use.", "model"
        )
        self.prefix_cache_hits = self._counter(
            "prefix_cache_hits", "Prompt tokens answered from the prefix cache.", "model"
        )
        self.preemptions = self._counter(
            "preemptions", "Times a sequence gave its place in the KV cache to others.", "model"
        )
        self.sequences_running = self._gauge(
            "sequences_running", "Sequences in the running batch.", "service"
        ).labels(self.service)

    def _declare_images(self) -> None:
        self.active_rows = self._gauge("active_rows", "Rows in the call that runs now.", "service").labels(
            self.service
        )
        self.images_generated = self._counter("images_generated", "Finished images.", "model")
        self.images_cancelled = self._counter(
            "images_cancelled", "Images whose caller left or whose deadline passed.", "model"
        )
        self.guided_rows = self._counter(
            "guided_rows", "Rows that said what guidance leads away from.", "model"
        )
        self.adapter_uses = self._counter(
            "adapter_uses",
            "Adapters that requests began with: in the network already or not.",
            "outcome",
        )

    def _declare_projections(self) -> None:
        self.projections_running = self._gauge(
            "projections_running", "Projections under way.", "service"
        ).labels(self.service)
        self.projection_steps = self._counter("projection_steps", "Optimiser steps of projections.", "model")

    def _declare_datasets(self) -> None:
        self.datasets = self._counter("datasets", "Data sets whose check ended: ready or failed.", "outcome")
        self.upload_bytes = self._counter("upload_bytes", "Bytes received by uploads.", "service").labels(
            self.service
        )

    def _declare_jobs(self) -> None:
        self.jobs = self._gauge("jobs", "Training jobs that have not ended, by where they stand.", "state")
        self.jobs_ended = self._counter("jobs_ended", "Training jobs that ended.", "recipe", "outcome")
        self.job_seconds = self._histogram(
            "job_seconds",
            "Seconds from a training job's first step to its end, pauses included.",
            "recipe",
            buckets=(1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 4 * 3600.0, 24 * 3600.0, 168 * 3600.0),
        )
        self.deliveries = self._counter(
            "deliveries", "Attempts to tell a webhook: heard, unheard or given_up.", "outcome"
        )

    def _declare_gateway(self) -> None:
        self.backend_up = self._gauge("backend_up", "1 while the backend is healthy.", "service", "backend")
        self.service_up = self._gauge(
            "service_up", "1 while a backend of the service is healthy; there without any, too.", "service"
        )
        self.backend_ejections = self._counter(
            "backend_ejections", "Times a backend was ejected as an outlier.", "service", "backend"
        )
        self.retries = self._counter("retries", "Calls tried again on another backend.", "service", "outcome")
        self.inflight = self._gauge("inflight", "Calls being forwarded now.", "service")
        self.places = self._gauge("places", "Calls that may be forwarded at a time, as found out.", "service")
        self.usage_pending = self._gauge("usage_pending", "Usage records not in the database yet.")
        self.rejected = self._counter("rejected", "Calls refused by the gateway.", "service", "reason")
