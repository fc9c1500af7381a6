"""What is to be measured, before weights or pixels are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurtrain.blur.blur import Blur
from blurtrain.data.augment import Transform
from blurtrain.data.loader import open_loader
from blurtrain.distributed import Group
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.subject import Subject
from blurtrain.evaluation.views import blurred_at
from blurtrain.models.trained import Preprocessing, TrainedNetwork
from blurtrain.settings import Evaluation, Loader


@dataclass(frozen=True)
class Plan:
    """A network, the images that it is measured on, and how it is shown them."""

    name: str
    """Of the network, in messages and pictures."""
    identity: Mapping[str, Any]
    """What says which network it is: {run, epoch}, or {network: hash of the weights}."""
    load: Callable[[], TrainedNetwork]
    classes: tuple[str, ...]
    """Of the network's outputs, in their order."""
    preprocessing: Preprocessing
    transform: Transform
    """At the size where images are blurred."""
    images: Images
    evaluation: Evaluation
    blurs: tuple[Blur, ...]
    reading: Loader
    targets: NDArray[np.int64] | None
    """[classes]: the output of each class of the dataset; none: they are the outputs."""

    @classmethod
    def of(cls, *, transform: Transform, evaluation: Evaluation, **parts: Any) -> "Plan":
        """transform: at the network's own size."""
        at = blurred_at(transform, evaluation.protocol)
        return cls(transform=at, evaluation=evaluation, **parts)

    def opened(self, group: Group) -> Subject:
        """Reads the weights, and opens the images; raises BlurtrainErrors where that cannot be done."""
        reading = self.reading.model_copy(update={"workers": self.reading.workers or group.cores})
        network = self.load().to(group.device)
        loader = open_loader(reading, self.images.source, group.device, self.targets)
        return Subject(network, self.images, loader, self.transform, group, protocol=self.evaluation.protocol)

    def beside(self, subject: Subject) -> Subject:
        """As `opened`, on images that are open already."""
        network = self.load().to(subject.group.device)
        return replace(subject, network=network, transform=self.transform, protocol=self.evaluation.protocol)
