"""What a service has done, in the text format of Prometheus."""

import bisect
import resource
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends, in seconds."""
TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts requests; used by one thread, that of the event loop."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: dict[str, list[int]] = {}
        self._sum: Counter[str] = Counter()

    def count(self, method: str, path: str, status: int, seconds: float) -> None:
        """A request that was answered. path: that of the route, so that there are few."""
        self._requests[method, path, status] += 1
        buckets = self._seconds.setdefault(path, [0] * (len(BUCKETS) + 1))
        buckets[bisect.bisect_left(BUCKETS, seconds)] += 1
        self._sum[path] += seconds  # type: ignore[assignment]

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """gauges: of other values, by name: what they are, and their value now."""
        lines = ["# HELP blur_requests_total Requests that were answered.", "# TYPE blur_requests_total counter"]
        for (method, path, status), n in sorted(self._requests.items()):
            lines.append(f'blur_requests_total{{method="{method}",path="{path}",status="{status}"}} {n}')
        name = "blur_request_seconds"
        lines += [f"# HELP {name} From the first byte of a request to its answer.", f"# TYPE {name} histogram"]
        for path, counts in sorted(self._seconds.items()):
            total = 0
            for end, n in zip([*map(str, BUCKETS), "+Inf"], counts, strict=True):
                total += n
                lines.append(f'{name}_bucket{{path="{path}",le="{end}"}} {total}')
            lines.append(f'{name}_sum{{path="{path}"}} {self._sum[path]:.6f}')
            lines.append(f'{name}_count{{path="{path}"}} {total}')
        process = {"process_resident_memory_bytes": ("Memory of the service.", resident())}
        for gauge, (help_, value) in {**gauges, **process}.items():
            lines += [f"# HELP {gauge} {help_}", f"# TYPE {gauge} gauge", f"{gauge} {value:g}"]
        return "\n".join(lines) + "\n"


def resident() -> int:
    """Bytes of memory that this process occupies."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
