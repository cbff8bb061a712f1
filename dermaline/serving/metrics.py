"""What the server counts, for Prometheus. Nothing of it is about one person or photograph."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
IMAGES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = {"namespace": "dermaline", "registry": self.registry}
        self.requests = Counter("requests", "Requests that were answered", ["path", "status"], **own)
        self.seconds = Histogram("request_seconds", "From a request to its answer", ["path"], buckets=SECONDS, **own)
        self.batch = Histogram("batch_images", "Photographs of one inference", buckets=IMAGES, **own)
        self.waiting = Gauge("waiting", "Requests that are accepted and not answered", **own)
        self.predicted = Counter("predicted", "Photographs by predicted diagnosis", ["diagnosis"], **own)
        self.strange = Counter("out_of_distribution", "Photographs that are no dermatoscopic ones", **own)
        self.model = Gauge("model", "The model that answers: 1", ["version", "hash"], **own)
