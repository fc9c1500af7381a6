"""What one sees of a training: the journal, the heartbeat, TensorBoard, and a bar on a terminal or lines in a log."""

import logging
import sys
import time
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from blurtrain.data.augment import Transform
from blurtrain.run import Attempt
from blurtrain.settings import Settings

log = logging.getLogger(__name__)
BEAT_SECONDS = 5.0


class Progress:
    """Tells everyone how far a training is. Only the leading process has an attempt; without one nothing is written."""

    def __init__(self, settings: Settings, attempt: Attempt | None, epoch: int):
        self.attempt, self.epochs = attempt, settings.optimisation.epochs
        self._done = float(epoch)
        self._beaten = -BEAT_SECONDS
        self._shown_sigma: float | None = None
        self._tensorboard: Any = None
        if attempt and settings.logging.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(str(attempt.run.path / "tensorboard"), purge_step=epoch + 1)
        hidden = not attempt or not sys.stderr.isatty()
        self._bar = tqdm(
            total=self.epochs,
            initial=epoch,
            unit="epoch",
            disable=hidden,
            bar_format="{l_bar}{bar}| {n:.2f}/{total} epochs [{elapsed}<{remaining}{postfix}]",
        )
        self._redirect = logging_redirect_tqdm() if not hidden else None

    def __enter__(self) -> "Progress":
        if self._redirect:
            self._redirect.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._redirect:
            self._redirect.__exit__(*exception)
        self._bar.close()
        if self._tensorboard:
            self._tensorboard.close()

    def tick(self) -> None:
        """Renew the heartbeat if it is getting old."""
        if self.attempt and time.monotonic() - self._beaten >= BEAT_SECONDS:
            self._beaten = time.monotonic()
            self.attempt.beat(epoch=self._done, epochs=self.epochs)

    def step(self, epoch: int, step: int, steps: int) -> None:
        """`step` of `steps` in the 0-based `epoch` are done."""
        self._bar.update(epoch + step / steps - self._done)
        self._done = epoch + step / steps
        self.tick()

    def epoch(self, epoch: int, **values: float) -> None:
        """`epoch` epochs are done; `values` is what was measured in the last of them."""
        if not self.attempt:
            return
        self.attempt.record("epoch", epoch=epoch, **values)
        summary = "loss {loss:.3f}, top-1 {top1:.1f} %, sigma {sigma:g}, {images_per_second:.0f} images/s".format(
            **values
        )
        self._bar.set_postfix_str(summary)
        if self._bar.disable:
            log.info("epoch %d/%d: %s", epoch, self.epochs, summary)
        else:
            log.debug("epoch %d/%d: %s", epoch, self.epochs, summary)
        if self._tensorboard:
            for name, value in values.items():
                self._tensorboard.add_scalar(f"train/{name}", value, epoch)

    def show(self, images: Tensor, transform: Transform, epoch: int, sigma: float) -> None:
        """Some images as the network sees them, whenever the blur has changed."""
        if self._tensorboard and sigma != self._shown_sigma:
            self._shown_sigma = sigma
            mean, sd = (torch.tensor(v, device=images.device).view(3, 1, 1) for v in (transform.mean, transform.sd))
            pixels = (images[:16] * sd + mean).clamp(0, 1).float().cpu()
            self._tensorboard.add_images("as the network sees them", pixels, epoch + 1)

    def measured(self, outcome: dict[str, Any]) -> None:
        """The final evaluation."""
        n = outcome["n"]
        for level in outcome["levels"]:
            log.info(
                "sigma %4g: top-1 %5.1f %%, top-5 %5.1f %% of %d",
                level["sigma"],
                100 * level["top1"] / n,
                100 * level["top5"] / n,
                n,
            )
            if self._tensorboard:
                self._tensorboard.add_scalar("test/top1 against sigma", 100 * level["top1"] / n, round(level["sigma"]))
