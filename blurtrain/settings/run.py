"""One run, whole, as frozen, typed, documented settings."""

from pydantic import Field, SerializeAsAny, model_validator

from blurtrain.blur.blurs import Blur
from blurtrain.blur.curricula import AnyCurriculum, Constant
from blurtrain.errors import nearest
from blurtrain.schema import Name, Section, added_later, outside_identity
from blurtrain.settings.augmentation import Augmentation
from blurtrain.settings.network import DEFAULT_MODEL, RESTORING, Network
from blurtrain.settings.sections import (
    BlurUnits,
    Checkpoints,
    Data,
    EarlyStopping,
    Evaluation,
    Loader,
    Logging,
    Optimisation,
    Precision,
    Start,
    Validation,
)
from blurtrain.tasks import Classification, CrossEntropy, Loss, Task


class Settings(Section):
    """One run, whole. `dataset`, `regime` and `model` name files in `configs/` and label the run in tables."""

    dataset: Name
    """A prepared dataset; a preset of that name in configs/datasets is taken where there is one."""
    regime: Name
    """A curriculum by its name in configs/regimes, or a name of your own for what `curriculum` says."""
    model: Name = DEFAULT_MODEL
    """A network by its name in configs/models, or a name of your own for what `network` says."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Of all that is random: first weights, order of images, augmentation, random curricula."""
    data: Data = Data()
    network: Network = Network()
    curriculum: AnyCurriculum = Constant()
    blur: BlurUnits = BlurUnits()
    augmentation: Augmentation = Augmentation()
    optimisation: Optimisation = Optimisation()
    precision: Precision = added_later(Precision())
    task: SerializeAsAny[Task] = added_later(Classification())
    loss: SerializeAsAny[Loss] = added_later(CrossEntropy())
    early_stopping: EarlyStopping | None = added_later(None)
    start: Start | None = added_later(None)
    validation: Validation = outside_identity(Validation())
    evaluation: Evaluation = outside_identity(Evaluation())
    loader: Loader = outside_identity(Loader())
    checkpoints: Checkpoints = outside_identity(Checkpoints())
    logging: Logging = outside_identity(Logging())

    @property
    def levels(self) -> tuple[Blur, ...]:
        """The blurs of the evaluation: those given by sigma, and the others."""
        return self.evaluation.levels(self.blur.reference_resolution)

    @property
    def measures(self) -> tuple[str, ...]:
        """What is measured; accuracy stands for what the task is measured by."""
        own = [self.task.measure if words == "accuracy" else words for words in self.evaluation.measures]
        return tuple(dict.fromkeys(own))

    @model_validator(mode="after")
    def _metrics_of_the_task(self) -> "Settings":
        stopping = self.early_stopping.metric if self.early_stopping else None
        for where, metric in (("early_stopping.metric", stopping), ("validation.keep_best", self.validation.keep_best)):
            if metric is not None and metric not in (known := ("loss", *self.task.metrics)):
                raise ValueError(f"{where}={metric} is unknown; {nearest(metric, known)}")
        return self

    @model_validator(mode="after")
    def _loss_of_the_task(self) -> "Settings":
        task, loss = self.task, self.loss
        if task.targets not in loss.targets:
            fitting = [name for name, kind in Loss.kinds.items() if task.targets in kind.targets]
            cure = f"set loss={' or '.join(fitting)}" if fitting else "set another loss"
            raise ValueError(f"loss={loss.type} is not for task={task.type}, whose targets are {task.targets}: {cure}")
        if why := loss.check_side(self.data.resolution):
            raise ValueError(f"loss={loss.type} does not fit data.resolution={self.data.resolution}: {why}")
        return self

    @model_validator(mode="after")
    def _features_are_seen(self) -> "Settings":
        if self.loss.watched is not None and self.precision.compile:
            raise ValueError(
                f"loss={self.loss.type} looks at features, which a compiled network does not give: leave out "
                "precision.compile"
            )
        return self

    @model_validator(mode="after")
    def _pixels_of_restoration(self) -> "Settings":
        if self.task.targets == "sharp" and (self.data.mean, self.data.sd) != ((0, 0, 0), (1, 1, 1)):
            raise ValueError(
                f"task={self.task.type} restores pixels in 0..1: set data.mean=[0, 0, 0] and data.sd=[1, 1, 1]"
            )
        if (name := self.network.architecture) in RESTORING and self.task.targets != "sharp":
            raise ValueError(f"network.architecture={name} gives images: set task=restoration and loss=l1, or another")
        return self

    @model_validator(mode="after")
    def _frontend_fits(self) -> "Settings":
        frontend, name = self.network.frontend, self.network.architecture
        if frontend is None:
            return self
        if self.task.targets != "labels":
            raise ValueError(
                f"network.frontend is for task=classification, not for task={self.task.type}: leave it out"
            )
        if name == "blur-type":
            raise ValueError(f"network.frontend takes away what {name} is to find: leave it out")
        if self.curriculum.schedule == "feature-smoothing":
            raise ValueError("network.frontend: curriculum.schedule=feature-smoothing would blur its maps, too: leave "
                             "one of them out")  # fmt: skip
        if (least := 2**frontend.depth) > self.data.resolution:
            raise ValueError(f"network.frontend.depth={frontend.depth} needs images of {least} px or more, not of "
                             f"data.resolution={self.data.resolution}")  # fmt: skip
        if frontend.image and self.precision.compile:
            raise ValueError("network.frontend.image looks at what the front-end gives, which a compiled network does "
                             "not show: leave out precision.compile")  # fmt: skip
        if frontend.task != 1 and self.loss.opponent_rate is not None:
            raise ValueError(f"loss={self.loss.type} learns by gradients through the front-end: leave out "
                             "network.frontend.task")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _crops_fit(self) -> "Settings":
        scaled, side = self.augmentation.scaled, self.data.resolution
        if scaled and scaled.least() < side:
            least = -(-side * scaled.defined_at // min(scaled.object_scales))
            raise ValueError(
                f"augmentation.scaled: the smallest image has {scaled.least()} pixels, less than the crop of "
                f"data.resolution={side}: give network_scales of at least {least}, or larger object_scales"
            )
        return self

    @model_validator(mode="after")
    def _fewer_pixels(self) -> "Settings":
        if not (reduced := self.data.reduced):
            return self
        barred = {
            "augmentation.scaled": self.augmentation.scaled is not None,
            f"loss={self.loss.type}, which shows further views": bool(self.loss.views),
            "network.frontend.image, which asks for further views": bool(
                self.network.frontend and self.network.frontend.image
            ),
            f"task={self.task.type}, whose targets are {self.task.targets}": self.task.targets != "labels",
            "precision.compile, as a network is compiled for one size": self.precision.compile,
        }
        for what, given in barred.items():
            if given:
                raise ValueError(f"data.reduced does not go with {what}: leave out one of them")
        if reduced.least_resolution % 32 or reduced.least_resolution >= self.data.resolution:
            raise ValueError(
                f"data.reduced.least_resolution={reduced.least_resolution} must be a multiple of 32, and less than "
                f"data.resolution={self.data.resolution}"
            )
        return self

    @model_validator(mode="after")
    def _whole_mosaics(self) -> "Settings":
        augmentation = self.augmentation
        whole = (1, 1) == augmentation.crop_scale == augmentation.crop_ratio and not augmentation.scaled
        if self.network.architecture == "blur-type" and (augmentation.warps or not whole):
            raise ValueError(
                "blur-type sees mosaics tile by tile, so they must stay whole: set augmentation.crop_scale and "
                "augmentation.crop_ratio to [1, 1], and leave out scaled, rotation, translation and zoom: "
                "model=blur-type does"
            )
        return self

    @model_validator(mode="after")
    def _stages_of_this_run(self) -> "Settings":
        if late := [epoch for epoch in self.checkpoints.keep_epochs if not 1 <= epoch <= self.optimisation.epochs]:
            raise ValueError(
                f"checkpoints.keep_epochs names epoch {late[0]}, but the run has {self.optimisation.epochs}, from 1 on"
            )
        return self

    @model_validator(mode="after")
    def _something_left_to_train(self) -> "Settings":
        if self.start and self.start.epoch >= self.optimisation.epochs:
            raise ValueError(
                f"start.epoch={self.start.epoch} must be less than optimisation.epochs={self.optimisation.epochs}, or "
                "nothing is left to train"
            )
        return self

    @model_validator(mode="after")
    def _as_it_is(self) -> "Settings":
        pretrained = self.network.pretrained
        if not self.optimisation.epochs and (pretrained is None or pretrained.head != "kept"):
            raise ValueError(
                "optimisation.epochs=0 takes a pretrained network as it is: "
                + ("network.pretrained is missing" if pretrained is None else "set network.pretrained.head=kept")
            )
        return self

    @model_validator(mode="after")
    def _frozen_statistics_of_something(self) -> "Settings":
        if self.optimisation.batch_norm == "frozen" and self.network.pretrained is None:
            raise ValueError(
                "optimisation.batch_norm=frozen needs network.pretrained: the statistics of a freshly drawn network "
                "are means of 0 and variances of 1, so it would not be normalised at all"
            )
        return self
