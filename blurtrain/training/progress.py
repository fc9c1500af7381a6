"""What one sees of a training: the journal, the heartbeat, TensorBoard, and a bar on a terminal or lines in a log."""

import contextlib
import logging
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from blurtrain.blur.assignment import in_words
from blurtrain.blur.blur import Blur
from blurtrain.data.augment import Transform
from blurtrain.errors import BlurtrainError
from blurtrain.evaluation.headline import by_level
from blurtrain.evaluation.measure import Measure
from blurtrain.models.frontend import behind_frontend
from blurtrain.run import Attempt

log = logging.getLogger(__name__)
BEAT_SECONDS = 5.0
T = TypeVar("T")


def mean_metrics(levels: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The mean over blurs of each metric."""
    levels = list(levels)
    return {name: sum(level[name] for level in levels) / len(levels) for name in levels[0]}


class Progress:
    """Reports how far a training is. Only the main process has an attempt; without one nothing is written.

    As a context, it keeps the heartbeat going in a thread of its own, whatever the training is doing meanwhile.
    """

    def __init__(self, epochs: int, attempt: Attempt | None, tensorboard: bool = False, epoch: float = 0.0):
        """epoch: where the run stands, as far as it is known before it is read (see `begin`)."""
        self.attempt, self.epochs = attempt, epochs
        self._state: dict[str, Any] = {"doing": "starting", "epoch": epoch, "epochs": self.epochs}
        self._moved = time.monotonic()
        self._began: tuple[float, float] | None = None  # when, and at which epoch
        self._over, self._failure = threading.Event(), list[Exception]()
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._shown_blur: Mapping[str, Any] | None = None
        self._wants_tensorboard = bool(attempt and tensorboard)
        self._tensorboard: Any = None
        self._bar: Any = None
        self._redirect: Any = None

    def __enter__(self) -> "Progress":
        if self.attempt:
            self.attempt.beat(**self._state)
            self._heart.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._over.set()
        if self.attempt:
            self._heart.join()
            with contextlib.suppress(BlurtrainError):
                self.attempt.beat(**self._state)
        if self._bar is not None:
            self._redirect.__exit__(*exception)
            self._bar.close()
        if self._tensorboard:
            self._tensorboard.close()

    def begin(self, epoch: float, step: int) -> None:
        """The run stands at `epoch` epochs, after `step` steps, and goes on from here."""
        self.tick(doing="training", epoch=epoch)
        self._began = time.monotonic(), epoch
        if self._wants_tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            assert self.attempt
            self._tensorboard = SummaryWriter(str(self.attempt.run.path / "tensorboard"), purge_step=step + 1)
        if self.attempt and sys.stderr.isatty():
            self._bar = tqdm(
                total=self.epochs,
                initial=epoch,
                unit="epoch",
                bar_format="{l_bar}{bar}| {n:.2f}/{total} epochs [{elapsed}<{remaining}{postfix}]",
            )
            self._redirect = logging_redirect_tqdm()
            self._redirect.__enter__()

    def tick(self, **news: Any) -> None:
        """The training has moved; `news` is what the heartbeat says of it. Raises Superseded where a newer attempt has
        begun, and RunError where the heartbeat cannot be written any more."""
        self._state.update(news)
        self._moved = time.monotonic()
        if self._failure:
            raise self._failure[0]
        if self._bar is not None and "epoch" in news:
            self._bar.update(news["epoch"] - self._bar.n)

    def _beat(self) -> None:
        assert self.attempt
        while not self._over.wait(BEAT_SECONDS):
            now = time.monotonic()
            news = {**self._state, "unmoved_seconds": round(now - self._moved, 1)}
            if self._began and (done := self._state["epoch"] - self._began[1]) > 0:
                news["remaining_seconds"] = round((now - self._began[0]) * (self.epochs - self._state["epoch"]) / done)
            try:
                self.attempt.beat(**news)
            except (BlurtrainError, OSError) as error:
                self._failure.append(error)  # raised by the next tick, in the thread that can stop
                return

    def steps(self, at: int, epoch: float, **values: Any) -> None:
        """What was measured over the last steps, up to step `at` of the run."""
        self._state["images_per_second"] = values["images_per_second"]
        if self.attempt:
            self.attempt.record("step", at=at, epoch=round(epoch, 4), **values)
            self._scalars("step", at, values)

    def epoch(self, at: int, epoch: int, metrics: str, **values: Any) -> None:
        """`epoch` epochs are done; `values` is what was measured in the last of them, `metrics` the task's in words."""
        self._state["images_per_second"] = values["images_per_second"]
        if not self.attempt:
            return
        self.attempt.record("epoch", at=at, epoch=epoch, **values)
        self._scalars("epoch", at, values)
        speed = f"{values['images_per_second']:.0f} images/s, {100 * values['data_wait']:.0f} % waiting for data"
        summary = f"loss {values['loss']:.3f}, {metrics}, {in_words(values)}, {speed}"
        if self._bar is not None:
            self._bar.set_postfix_str(summary)
        log.log(logging.INFO if self._bar is None else logging.DEBUG, "epoch %d/%d: %s", epoch, self.epochs, summary)

    def validated(self, at: int, epoch: int, levels: Mapping[Blur, Mapping[str, float]], n: int, pixels: str) -> None:
        """What the val split gave after `epoch` epochs: metrics at each blur, and their means over these."""
        if not self.attempt:
            return
        means = mean_metrics(levels.values())
        rows = [{"blur": blur.label, **metrics} for blur, metrics in levels.items()]
        self.attempt.record("validation", at=at, epoch=epoch, split="val", n=n, pixels=pixels, **means, levels=rows)
        several = {blur.label: metrics for blur, metrics in levels.items() if len(levels) > 1}
        self._scalars("validation", at, {**means, **several})
        shown = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
        log.info("epoch %d/%d: val split (n = %d): %s", epoch, self.epochs, n, shown)

    def _scalars(self, kind: str, at: int, values: Mapping[str, Any]) -> None:
        for name, value in values.items() if self._tensorboard else ():
            if isinstance(value, Mapping):
                self._scalars(f"{kind}/{name}", at, value)
            else:
                self._tensorboard.add_scalar(f"{kind}/{name}", value, at)

    def show(self, images: Tensor, transform: Transform, network: nn.Module, at: int, blur: Mapping[str, Any]) -> None:
        """Some images [N, 3, H, W] as the network sees them, and its first filters, whenever the blur has changed."""
        if self._tensorboard and blur != self._shown_blur:
            self._shown_blur = blur
            mean, sd = (torch.tensor(v, device=images.device).view(3, 1, 1) for v in (transform.mean, transform.sd))
            pixels = (images[:16].float() * sd + mean).clamp(0, 1).cpu()
            self._tensorboard.add_images("as the network sees them", pixels, at)
            self.filters(network, at)

    def filters(self, network: nn.Module, at: int) -> None:
        """The filters of the first convolution, each stretched to the full range, if they are of colours."""
        first = next((m for m in behind_frontend(network).modules() if isinstance(m, nn.Conv2d)), None)
        if self._tensorboard and first is not None and first.in_channels == 3 and first.groups == 1:
            weights = first.weight.detach().float().cpu()
            low, high = weights.amin((1, 2, 3), keepdim=True), weights.amax((1, 2, 3), keepdim=True)
            self._tensorboard.add_images("filters of the first layer", (weights - low) / (high - low + 1e-12), at)

    def measured(self, measure: type[Measure], outcome: dict[str, Any]) -> None:
        """The final evaluation."""
        for line in by_level(measure, outcome):
            log.info("%s", line)
        metric, facts = next(iter(measure.headlines.items()))
        for row in (row for row in outcome["rows"] if self._tensorboard and row["metric"] == metric):
            value = row["count"] / row["n"] if "count" in row else row["value"]
            if value is None:
                continue
            value *= facts.get("times", 1)
            if row["sigma"] is not None:
                # TensorBoard draws against whole numbers alone: thousandths keep levels such as 0 and 0.5 apart.
                step = round(1000 * row["sigma"])
                self._tensorboard.add_scalar(f"test/{metric} against sigma in thousandths", value, step)
            else:
                self._tensorboard.add_scalar(f"test/{metric} at {row['blur']}", value, 0)


class Stopwatch:
    """How fast images go through, and what share of the time is spent waiting for them: of an epoch, and lap by lap."""

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.monotonic):
        """`clock`: seconds since whenever."""
        self._device, self._clock, self._waited, self._images = device, clock, 0.0, 0
        self._began = clock()
        self._lap = (self._began, 0.0, 0)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def waiting(self, items: Iterable[T]) -> Iterator[T]:
        """The items; the time that each takes to come counts as waited."""
        source = iter(items)
        while True:
            began = self._clock()
            item = next(source, None)
            self._waited += self._clock() - began
            if item is None:
                return
            yield item

    def passed(self, images: int) -> None:
        """So many images, of all processes together, have gone through."""
        self._images += images

    def lap(self) -> dict[str, float]:
        """As `total`, since the last lap."""
        since, self._lap = self._lap, (self._clock(), self._waited, self._images)
        return self._speed(*(now - then for now, then in zip(self._lap, since, strict=True)))

    def total(self) -> dict[str, float]:
        """images_per_second, data_wait (0..1), memory_gib (resident), and on a GPU gpu_memory_gib (peak)."""
        return self._speed(self._clock() - self._began, self._waited, self._images)

    def _speed(self, seconds: float, waited: float, images: float) -> dict[str, float]:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        values = {
            "images_per_second": images / seconds,
            "data_wait": waited / seconds,
            "memory_gib": pages * resource.getpagesize() / 2**30,
        }
        if self._device.type == "cuda":
            values["gpu_memory_gib"] = torch.cuda.max_memory_allocated(self._device) / 2**30
        return values
