"""What is known of metrics: how they are called, their unit, the digits that are worth showing, which way is better."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

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

    @property
    def heading(self) -> str:
        """E.g. top-1 (%)."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def as_ratio(self) -> "MetricFacts":
        """Of ratios of its values."""
        return replace(self, unit="", times=1, digits=2)

    def shown(self, value: float, signed: bool = False) -> str:
        """`value`, as it is recorded, in the unit of the table."""
        # 8.45 is a little less in binary, and would be shown as 8.4.
        nudged = self.times * value + (1e-9 if value > 0 else -1e-9 if value < 0 else 0)
        text = f"{nudged:{'+' if signed else ''}.{self.digits}f}"
        return text.replace("-", "") if float(text) == 0 and not signed else text


def _share(label: str, better: Better) -> MetricFacts:
    return MetricFacts(label, "%", 100, 1, better)


KNOWN = {
    "top1": _share("top-1", "higher"),
    "top5": _share("top-5", "higher"),
    "loss": MetricFacts("loss", "nats", better="lower"),
    "cross_entropy": MetricFacts("cross-entropy", "nats", better="lower"),
    # How sure a network is, right or wrong.
    "entropy": MetricFacts("entropy", "nats"),
    "brier": MetricFacts("Brier score", better="lower"),
    "ece": _share("calibration error", "lower"),
    "mce": _share("largest calibration error", "lower"),
}


class OwnFacts(BaseModel):
    """What a table's file says of a metric."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str | None = None
    unit: str | None = None
    times: int | None = Field(None, ge=1)
    digits: int | None = Field(None, ge=0, le=9)
    better: Better | None = None


def facts(metric: str, is_count: bool, own: OwnFacts | None = None) -> MetricFacts:
    """Of any metric; is_count: it is a count of images, shown as a share of them in percent."""
    known = KNOWN.get(metric) or (_share(metric, "neither") if is_count else MetricFacts(metric))
    changes: dict[str, Any] = own.model_dump(exclude_none=True) if own else {}
    return replace(known, **changes)
