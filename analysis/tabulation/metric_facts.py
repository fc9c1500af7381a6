"""What is known of metrics: how they are called, their unit, the digits that are worth showing, which way is better."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from analysis.statistics.estimates import Estimate

Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class MetricFacts:
    """One metric; tables show `times` the value that is recorded."""

    label: str
    unit: str = ""
    times: int = 1
    digits: int = 3
    better: Better = "neither"
    """Where neither is, none is marked as the best."""
    least: float = -math.inf
    most: float = math.inf
    """No value can lie beyond these, as it is recorded; nor do intervals."""
    ratio_of: "MetricFacts | None" = None
    """Of a ratio, the metric itself."""

    @property
    def heading(self) -> str:
        """E.g. top-1 (%)."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def within(self, estimate: Estimate) -> Estimate:
        """With an interval of values that there can be: over a few seeds it may reach beyond them."""
        return replace(estimate, low=max(estimate.low, self.least), high=min(estimate.high, self.most))

    def as_ratio(self) -> "MetricFacts":
        """Of ratios of its values."""
        return replace(self, unit="", times=1, digits=2, ratio_of=self)

    def shown(self, value: float, signed: bool = False) -> str:
        """`value`, as it is recorded, in the unit of the table."""
        # 8.45 is a little less in binary, and would be shown as 8.4.
        nudged = self.times * value + (1e-9 if value > 0 else -1e-9 if value < 0 else 0)
        text = f"{nudged:{'+' if signed else ''}.{self.digits}f}"
        return text.replace("-", "") if float(text) == 0 and not signed else text


def _share(label: str, better: Better) -> MetricFacts:
    return MetricFacts(label, "%", 100, 1, better, 0.0, 1.0)


KNOWN = {
    "top1": _share("top-1", "higher"),
    "top5": _share("top-5", "higher"),
    "loss": MetricFacts("loss", "nats", better="lower", least=0.0),
    "cross_entropy": MetricFacts("cross-entropy", "nats", better="lower", least=0.0),
    # How sure a network is, right or wrong.
    "entropy": MetricFacts("entropy", "nats", least=0.0),
    "brier": MetricFacts("Brier score", better="lower", least=0.0, most=2.0),
    "ece": _share("calibration error", "lower"),
    "largest_gap": _share("largest calibration gap", "lower"),
}


class OwnFacts(BaseModel):
    """What a table's file says of a metric."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str | None = None
    unit: str | None = None
    times: int | None = Field(None, ge=1)
    digits: int | None = Field(None, ge=0, le=9)
    better: Better | None = None
    least: float | None = None
    most: float | None = None


def facts(metric: str, is_count: bool, own: OwnFacts | None = None) -> MetricFacts:
    """Of any metric; is_count: it is a count of images, shown as a share of them in percent."""
    known = KNOWN.get(metric) or (_share(metric, "neither") if is_count else MetricFacts(metric))
    changes: dict[str, Any] = own.model_dump(exclude_none=True) if own else {}
    return replace(known, **changes)
