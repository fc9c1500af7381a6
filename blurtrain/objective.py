"""What a search makes better: one number a trial and epoch, the mean over the trial's runs."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from blurtrain.blur.blurs import AnyBlur, Sharp
from blurtrain.errors import SettingsError, nearest
from blurtrain.files import read_json
from blurtrain.run import Run
from blurtrain.schema import Section
from blurtrain.settings import Settings


class Objective(Section):
    """A value of the journal, or one that a measure gives at the end; of the val split, never of test."""

    metric: str = "top1"
    of: str = "validation"
    """Where it is read: `validation` (looks at the val split while a run trains), `training` (the epochs' own means),
    or the name of a measure (`accuracy`), which is taken on the val split at the end of each run."""
    split: Literal["val"] = "val"
    blurs: tuple[AnyBlur, ...] = Field((Sharp(),), min_length=1)
    """The mean over these is taken; `training` has none."""
    every_epochs: int = Field(1, ge=1)
    """So often a run looks at the val split, and may be pruned."""
    mode: Literal["max", "min"] | None = None
    """None: as the task says of its metric."""

    @model_validator(mode="before")
    @classmethod
    def _not_test(cls, document: Any) -> Any:
        if isinstance(document, dict) and document.get("split") not in (None, "val"):
            raise ValueError(
                f"split={document['split']}: a search looks at the val split alone; what was chosen by test images "
                "cannot be tested on them"
            )
        return document

    @property
    def each_epoch(self) -> bool:
        """Whether it is known while a run trains."""
        return self.of in ("validation", "training")

    def section(self) -> dict[str, Any]:
        """The settings that make a run report it."""
        blurs = [blur.model_dump() for blur in self.blurs]
        if self.of == "validation":
            return {"validation": {"every_epochs": self.every_epochs, "blurs": blurs}}
        if self.of == "training":
            return {}
        return {"evaluation": {"split": "val", "sigmas": [], "blurs": blurs, "measures": [self.of]}}

    def check(self, settings: Settings, where: str) -> None:
        """Raise SettingsError where nothing would report it."""
        if self.each_epoch and self.metric not in (known := ("loss", *settings.task.metrics)):
            raise SettingsError(
                f"{where}: objective.metric={self.metric}: nothing reports it; {nearest(self.metric, known)}"
            )

    def is_max(self, settings: Settings) -> bool:
        """Whether more is better."""
        return self.mode == "max" if self.mode else self.metric in settings.task.higher_is_better

    def values(self, run: Run) -> dict[int, float]:
        """By the epochs that were done then; empty while nothing is known. Raises SettingsError where a finished run
        does not report it."""
        if self.each_epoch:
            event = "epoch" if self.of == "training" else "validation"
            entries = (self._entry(e) for e in run.journal() if e["event"] == event)
            return {epoch: value for epoch, value in entries if value is not None}
        if (result := run.result()) is None:
            return {}
        labels = [blur.label for blur in self.blurs]
        for path in sorted(run.evaluations.glob(f"{self.of}-*.json")):
            document = read_json(path) or {}
            if document.get("split") == self.split and document.get("epoch") in (None, result["epochs"]):
                rows = {r["blur"]: _number(r) for r in document.get("rows", []) if r["metric"] == self.metric}
                if (value := _mean(rows, labels)) is not None:
                    return {int(result["epochs"]): value}
        return {}

    def images(self, run: Run) -> int:
        """How many images of the split (of the training, where it is read there) its newest value is a mean over; 0:
        not known yet."""
        if self.each_epoch:
            event = "epoch" if self.of == "training" else "validation"
            return next((int(e["n"]) for e in reversed(list(run.journal())) if e["event"] == event and "n" in e), 0)
        documents = (read_json(path) or {} for path in sorted(run.evaluations.glob(f"{self.of}-*.json")))
        return next((int(d["n"]) for d in documents if d.get("split") == self.split and "n" in d), 0)

    @property
    def words(self) -> str:
        """What is made better."""
        at = "" if self.of == "training" else f" at {', '.join(blur.label for blur in self.blurs)}"
        return f"{self.of} {self.metric}{at}"

    def _entry(self, event: Mapping[str, Any]) -> tuple[int, float | None]:
        epoch = int(event["epoch"])
        if self.of == "training":
            return epoch, event.get(self.metric)
        rows = {row["blur"]: row.get(self.metric) for row in event["levels"]}
        return epoch, _mean(rows, [blur.label for blur in self.blurs])


def _number(row: Mapping[str, Any]) -> float | None:
    return row["count"] / row["n"] if "count" in row else row.get("value")


def _mean(rows: Mapping[str, float | None], labels: Sequence[str]) -> float | None:
    found = [rows.get(label) for label in labels]
    numbers = [value for value in found if value is not None]
    return sum(numbers) / len(numbers) if len(numbers) == len(labels) else None
