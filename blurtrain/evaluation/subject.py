"""What is measured, and what comes of it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from blurtrain.data.augment import Transform
from blurtrain.data.loader import Loader
from blurtrain.deblurring import Deblurring
from blurtrain.distributed import Group
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.views import Averaged, Scaled, Views, Whole, blurred_at
from blurtrain.models.trained import TrainedNetwork
from blurtrain.settings import Evaluation, Protocol

Row = dict[str, Any]
Records = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Subject:
    """What is measured, and with what."""

    network: TrainedNetwork
    images: Images
    loader: Loader
    transform: Transform
    group: Group
    tick: Callable[[], None] = lambda: None
    """Called after every batch, equally often by each process."""
    protocol: Protocol | None = None
    """How the network is shown the images; `transform` is then at the size where they are blurred."""
    others: tuple["Subject", ...] = ()
    """Of an ensemble: its other networks, on the same images."""

    @classmethod
    def of(
        cls,
        network: TrainedNetwork,
        images: Images,
        loader: Loader,
        transform: Transform,
        group: Group,
        evaluation: Evaluation,
        tick: Callable[[], None] = lambda: None,
    ) -> "Subject":
        """`network` as `evaluation` shows images to it; transform: at the network's own size."""
        at = blurred_at(transform, evaluation.protocol)
        return cls(network, images, loader, at, group, tick, evaluation.protocol)

    def deblurred(self, method: Deblurring | None) -> "Subject":
        """The same, with blurred images restored by `method`."""
        return replace(self, transform=replace(self.transform, deblur=method))

    @property
    def networks(self) -> tuple[TrainedNetwork, ...]:
        """All that are measured as one."""
        return (self.network, *(other.network for other in self.others))

    def views(self) -> Views:
        """How the network is shown the images, or the networks are. Raises SettingsError where one cannot be."""
        if self.others:
            return Averaged([replace(self, others=()).views(), *(other.views() for other in self.others)])
        if self.protocol is None:
            return Whole(self.network, self.transform)
        return Scaled(self.network, self.transform, self.protocol)


@dataclass(frozen=True)
class Found:
    """What a measure found."""

    rows: list[Row]
    """{metric, blur, sigma, n, value or count}: `blur` is the label of a level; `value` is a mean over n images, None
    where it is undefined, `count` a number of them. n may differ from metric to metric (of filters, say), where it is
    given. `level`: where `blur` names a part of a level of the measure's own (a layer), the label of the level.
    `by_object`: the count of each object; `not_finite`: how many of the images have logits that are NaN or
    infinite (they count as wrong)."""
    records: dict[str, Records] = field(default_factory=dict)
    """By the label of a level, arrays of one entry an image, the same names for each; `index`: the image's place in the
    store; `object`: which it shows (0, 1, ...), where several images show one."""
    arrays: dict[str, dict[str, NDArray[Any]]] = field(default_factory=dict)
    """By the label of a level, then by name, anything else that figures are drawn from: maps, curves, histograms, of
    any shapes."""
