"""What /metrics says, in Prometheus's text format: counts and times, and nothing of what was asked."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pipeline.serving.engine import Engine

TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250)


class Metrics:
    """The server's metrics."""

    def __init__(self, engine: Engine) -> None:
        known = self._registry = CollectorRegistry()
        self.requests = Counter("pintune_requests", "Requests, by HTTP status", ["status"], registry=known)
        self.prompt_tokens = Counter("pintune_prompt_tokens", "Tokens of prompts", registry=known)
        self.completion_tokens = Counter("pintune_completion_tokens", "Tokens of answers", registry=known)
        self.retries = Counter("pintune_schema_retries", "Answers made again: they broke their schema", registry=known)
        first, whole = "From request to first token", "From request to end of answer"
        self.first = Histogram("pintune_first_token_seconds", first, registry=known, buckets=_SECONDS)
        self.seconds = Histogram("pintune_request_seconds", whole, registry=known, buckets=_SECONDS)
        running = Gauge("pintune_running", "Requests that have a slot", registry=known)
        running.set_function(lambda: engine.running)
        waiting = Gauge("pintune_waiting", "Requests that wait for a slot", registry=known)
        waiting.set_function(lambda: engine.waiting)

    def text(self) -> bytes:
        """All metrics."""
        return generate_latest(self._registry)
