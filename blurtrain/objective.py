"""What a search makes better: one number a trial and epoch, the mean over the trial's runs."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from blurtrain.blur.blurs import AnyBlur, Sharp
from blurtrain.errors import SettingsError, nearest
from blurtrain.files import read_json
from blurtrain.parts import is_part_name
from blurtrain.run import Run
from blurtrain.schema import Section
from blurtrain.settings import Settings

ACCURACY = {"top1": True, "top5": True, "loss": False, "entropy": False, "cross_entropy": False}
"""What the measure accuracy reports, and whether more of it is better. (Asking the measure itself would need torch.)"""


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
        """Raise SettingsError where nothing would report it, or nobody knows whether more of it is better."""
        if not self.each_epoch and self.of != "accuracy":
            if not is_part_name(self.of):
                known = ("validation", "training", "accuracy")
                raise SettingsError(
                    f"{where}: objective.of={self.of}: is no measure; {nearest(self.of, known)}, or package.module:Name"
                )
            if self.mode is None:
                raise SettingsError(f"{where}: objective.mode: say max or min; of {self.of}, nobody else knows")
            return
        reported = ("loss", *settings.task.metrics) if self.each_epoch else tuple(ACCURACY)
        if self.metric not in reported:
            said = nearest(self.metric, reported)
            raise SettingsError(f"{where}: objective.metric={self.metric}: nothing reports it; {said}")

    def is_max(self, settings: Settings) -> bool:
        """Whether more is better."""
        if self.mode is None and self.of == "accuracy":
            return ACCURACY[self.metric]
        return self.mode == "max" if self.mode else self.metric in settings.task.higher_is_better

    def values(self, run: Run) -> dict[int, float]:
        """By the epochs that were done then; empty while nothing is known. Raises SettingsError where a finished run
        does not report it."""
        if not self.each_epoch:
            result = run.result()
            return self._measured(run, result["epochs"], self.of, self.metric, _number) if result else {}
        event = "epoch" if self.of == "training" else "validation"
        entries = (self._entry(e) for e in run.journal() if e["event"] == event)
        found = {epoch: value for epoch, value in entries if value is not None}
        if self.of == "validation" and (result := run.result()) and result["epochs"] not in found:
            found |= self._validated_later(run, result["epochs"])
        return found

    def _measured(
        self, run: Run, epochs: int, measure: str, metric: str, number: Callable[[Mapping[str, Any]], float | None]
    ) -> dict[int, float]:
        """What a measure on the whole val split gave after the last epoch."""
        for path in sorted(run.evaluations.glob(f"{measure}-*.json")):
            document = read_json(path) or {}
            whole = not any(document.get(name) for name in ("drop_last", "protocol", "deblur"))
            if whole and document.get("split") == self.split and document.get("epoch") in (None, epochs):
                rows = {r["blur"]: number(r) for r in document.get("rows", []) if r["metric"] == metric}
                if (value := _mean(rows, [blur.label for blur in self.blurs])) is not None:
                    return {epochs: value}
        return {}

    # --- of a run that was done without looking at the val split ------------------------------------------------------

    def can_be_measured(self, run: Run) -> bool:
        """Whether `measuring` gives what validation would have given at the end of this run: its metrics to the last
        bit, its loss but for rounding."""
        settings = run.settings
        plain = settings.task.type == "classification" and settings.loss.type == "cross-entropy"
        return self.of == "validation" and plain and self.metric in ("loss", *settings.task.metrics)

    def measuring(self) -> list[str]:
        """The overrides of `blurtrain evaluate` that measure it."""
        blurs = json.dumps([blur.model_dump(mode="json") for blur in self.blurs])
        return [
            "evaluation.split=val",
            "evaluation.sigmas=[]",
            f"evaluation.blurs={blurs}",
            'evaluation.measures=["accuracy"]',
            "evaluation.drop_last=false",
            "evaluation.protocol=null",
            "evaluation.deblur=[]",
        ]

    def _validated_later(self, run: Run, epochs: int) -> dict[int, float]:
        if self.metric == "loss":
            return self._measured(run, epochs, "accuracy", "cross_entropy", _number)
        task, metric = run.settings.task, self.metric

        def mean(row: Mapping[str, Any]) -> float | None:
            return task.means({metric: row["count"]}, row["n"])[metric] if "count" in row else None

        return self._measured(run, epochs, "accuracy", metric, mean) if self.can_be_measured(run) else {}

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
