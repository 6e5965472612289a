"""What a server has done, as Prometheus reads it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_PREFIX = "tinyllava"
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """How often something took how many seconds."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_SECONDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(_SECONDS, seconds)] += 1
        self.total += seconds

    def lines(self, name: str) -> Iterator[str]:
        """As text."""
        yield f"# TYPE {name} histogram"
        below = 0
        for bound, count in zip((*_SECONDS, "+Inf"), self.counts, strict=True):
            below += count
            yield f'{name}_bucket{{le="{bound}"}} {below}'
        yield f"{name}_sum {self.total}"
        yield f"{name}_count {below}"


class Metrics:
    """Counts that only grow, and histograms; gauges are read when they are asked for."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()  # route, status
        self.prompt_tokens: Counter[str] = Counter()  # modality
        self.completion_tokens: Counter[str] = Counter()  # modality
        self.request_seconds = Histogram()
        self.first_token_seconds = Histogram()

    def observe(self, route: str, status: int, seconds: float) -> None:
        """A request has ended."""
        self.requests[route or "other", status] += 1
        self.request_seconds.add(seconds)

    def text(self, gauges: Mapping[str, float]) -> str:
        """All of it."""
        return "\n".join(self._lines(gauges)) + "\n"

    def _lines(self, gauges: Mapping[str, float]) -> Iterator[str]:
        yield f"# TYPE {_PREFIX}_requests_total counter"
        for (route, status), count in sorted(self.requests.items()):
            yield f'{_PREFIX}_requests_total{{route="{route}",status="{status}"}} {count}'
        for name, counts in (("prompt", self.prompt_tokens), ("completion", self.completion_tokens)):
            yield f"# TYPE {_PREFIX}_{name}_tokens_total counter"
            for modality, count in sorted(counts.items()):
                yield f'{_PREFIX}_{name}_tokens_total{{modality="{modality}"}} {count}'
        for name, value in gauges.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            yield f"# TYPE {_PREFIX}_{name} {kind}"
            yield f"{_PREFIX}_{name} {value}"
        yield from self.request_seconds.lines(f"{_PREFIX}_request_seconds")
        yield from self.first_token_seconds.lines(f"{_PREFIX}_first_token_seconds")
