"""The sections of a run's settings: each is given to the part that it is for, and to nothing else."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from blurtrain.blur.blurs import AnyBlur, Blur, Gaussian, Sharp
from blurtrain.deblurring import AnyDeblurring
from blurtrain.schema import NAME, FileName, Section, Sha256, Sigma, added_later, outside_identity
from blurtrain.settings.protocol import Protocol


class Reduced(Section):
    """Cheaper epochs: those that blur all of their images are trained at fewer pixels."""

    least_sigma: float = Field(1.0, ge=0.5, le=8)
    """Pixels of the smaller images that the least sigma of the epoch must still have. A Gaussian of 1 pixel leaves
    0.7 % of the finest grating that the smaller images can hold."""
    least_resolution: int = Field(64, ge=32)
    """Side that images are never smaller than; sides are multiples of 32."""


class Data(Section):
    """Which pixels the network sees."""

    root: FileName = outside_identity("data")
    """Folder of prepared datasets."""
    resolution: int = Field(224, ge=8, le=4096)
    """Side of the network's input in pixels. Where it is not given, `train` takes what the dataset was prepared for, if
    less is stored than the default."""
    mean: tuple[float, float, float] | None = None
    """Normalisation mean per channel, of pixels in 0..1; none: as measured on the training split."""
    sd: tuple[float, float, float] | None = None
    """Normalisation standard deviation per channel; none: as measured on the training split."""
    reduced: Reduced | None = added_later(None)
    """Fewer pixels for blurred epochs; none: every epoch is trained at `resolution`. Things are then smaller in pixels,
    too, for the network, so that it is another training (`blurtrain bench reduced`)."""

    @field_validator("mean", "sd")
    @classmethod
    def _of_pixels_in_0_to_1(cls, values: tuple[float, ...] | None, field: ValidationInfo) -> tuple[float, ...] | None:
        if values and not all(0 <= value <= 1 for value in values):
            hint = f": as shares of 255 that is {[round(v / 255, 4) for v in values]}" if max(values) > 1 else ""
            raise ValueError(f"it is of pixels in 0..1, so that each value lies in 0..1{hint}")
        if values and field.field_name == "sd" and min(values) == 0:
            raise ValueError("pixels are divided by it: leave it out, and what was measured is taken")
        return values


class Precision(Section):
    """The arithmetic of the network; the weights themselves, and the optimiser's state, stay in float32."""

    arithmetic: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    """bfloat16, float16: by autocast, the latter with loss scaling; float64 (weights too) is for comparisons."""
    tf32: bool = False
    """Let GPUs round the factors of float32 products to ten bits of mantissa."""
    compile: bool = False
    """Compile the network by torch.compile: fewer, larger kernels, after a minute or so."""
    crop_and_blur: Literal["plain", "fused"] = added_later("plain")
    """fused: on a GPU, one kernel for crop, resize, flip, Gaussian blur and normalisation, where nothing stands between
    them (augmentation.colour=0, no erasing, no warp) and Triton can be had, else as plain; plain: products of
    matrices. Values are the same but for rounding."""


class BlurUnits(Section):
    """How blur is meant, in training and in evaluation alike."""

    reference_resolution: int = Field(224, ge=8)
    """Sigmas are given in pixels at this resolution, and scaled with the network's input."""
    truncate: float = Field(4.0, gt=0, le=8)
    """Kernels are cut at this many sigmas; 2 reproduces the 33 taps at sigma 8 of the original study."""
    linear_light: bool = added_later(False)
    """Blur light, as optics does, and not sRGB values, as the sources do."""


class ParameterGroup(Section):
    """Parameters that are trained in a way of their own."""

    match: str = Field(min_length=1)
    """Glob pattern of their names in the state dict, e.g. `features.*`: * is any characters, dots too."""
    learning_rate_factor: float = Field(1.0, ge=0)
    """Their learning rate, as a multiple of that of the others, at every step of the schedule."""
    weight_decay: float | None = Field(None, ge=0)
    """None: optimisation.weight_decay."""
    frozen: bool = False
    """They stay as they are, without gradient and weight decay. Statistics of batch norm are no parameters: whether
    those change is for optimisation.batch_norm."""

    @model_validator(mode="after")
    def _frozen_is_all(self) -> "ParameterGroup":
        if self.frozen and (self.learning_rate_factor != 1 or self.weight_decay is not None):
            raise ValueError("frozen parameters have no learning_rate_factor and no weight_decay; leave them out")
        return self


class Optimisation(Section):
    """How the weights are found."""

    optimiser: Literal["adam", "sgd"] = "adam"
    """Adam, or SGD with momentum; weight decay is L2 in both."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Of SGD; Adam uses its usual (0.9, 0.999)."""
    weight_decay: float = Field(1e-5, ge=0)
    """L2 penalty added to the gradient (also in Adam, as in the study)."""
    batch_size: int = Field(256, ge=1)
    """Images a step, over all processes."""
    epochs: int = Field(100, ge=0)
    """0: the pretrained network is taken as it is, and nothing of what is said here applies."""
    warmup_epochs: float = Field(2.0, ge=0)
    """Linear warm-up, stepped per batch; 0: none. Where it is not given, a tenth of one or two epochs."""
    warmup_factor: float = Field(0.01, ge=0, le=1)
    """Learning rate at the first step, as a share of the peak."""
    learning_rate_schedule: Literal["cosine", "constant", "step"] = added_later("cosine")
    """After the warm-up: half a cosine from the peak to the floor, stepped per batch; the peak to the end; or in
    steps."""
    learning_rate_floor: float = added_later(0.0, ge=0, le=1)
    """Where the cosine ends, as a share of the peak."""
    learning_rate_steps: tuple[Annotated[float, Field(gt=0)], ...] = added_later(())
    """After how many epochs a rate in steps is multiplied by learning_rate_step_factor, each time."""
    learning_rate_step_factor: float = added_later(0.1, gt=0, le=1)
    """By how much the rate is multiplied at each of learning_rate_steps."""
    groups: tuple[ParameterGroup, ...] = added_later(())
    """Parameters with a learning rate or weight decay of their own, or frozen; of several that match, the first counts,
    and all that none matches are trained as the settings above say."""
    label_smoothing: float = added_later(0.0, ge=0, lt=1)
    """Share of each label that is spread evenly over all classes."""
    ema: float = added_later(0.0, ge=0, lt=1)
    """Decay per step of an exponential moving average of the weights, which then is what is evaluated and published;
    0: none."""
    batch_norm_images: int = added_later(0, ge=0)
    """How many images share statistics in batch norm, over however many processes; 0: the whole batch."""
    batch_norm: Literal["batch", "frozen"] = added_later("batch")
    """batch: training normalises by the statistics of its images, and keeps running ones for evaluation; frozen: by the
    running statistics that pretrained weights bring, which never change. Scale and shift are trained either way."""
    non_finite: Literal["stop", "skip"] = added_later("stop")
    """At a loss or gradient that is NaN or infinite: end the run, or skip that step, and count it."""
    accumulate: int = outside_identity(1, ge=1)
    """Micro-batches that a process cuts its part of a batch into, for want of memory: still one step a batch."""

    @model_validator(mode="after")
    def _warm_up_ends(self) -> "Optimisation":
        if self.epochs and self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs={self.warmup_epochs:g} must be less than epochs={self.epochs}")
        return self

    @model_validator(mode="after")
    def _of_its_own_schedule(self) -> "Optimisation":
        schedule, steps = self.learning_rate_schedule, self.learning_rate_steps
        if self.learning_rate_floor and schedule != "cosine":
            raise ValueError(f"learning_rate_floor goes with learning_rate_schedule=cosine, not {schedule}")
        if (steps or self.learning_rate_step_factor != 0.1) and schedule != "step":
            given = "learning_rate_steps" if steps else "learning_rate_step_factor"
            raise ValueError(f"{given} goes with learning_rate_schedule=step, not {schedule}")
        rising = steps and list(steps) == sorted(set(steps)) and (steps[-1] < self.epochs or not self.epochs)
        if schedule == "step" and not rising:
            raise ValueError(
                f"learning_rate_schedule=step needs learning_rate_steps, rising and below epochs={self.epochs}, "
                "e.g. [30, 60]"
            )
        return self

    @model_validator(mode="after")
    def _frozen_shares_nothing(self) -> "Optimisation":
        if self.batch_norm == "frozen" and self.batch_norm_images:
            raise ValueError(
                f"batch_norm_images={self.batch_norm_images} goes with batch_norm=batch: frozen statistics are not "
                "those of any images; leave one of the two out"
            )
        return self


class Evaluation(Section):
    """What is measured at the end."""

    split: Literal["train", "val", "test"] = "test"
    """Of val and test there are images resized straight from their source, at the resolution that the dataset was
    prepared for. Else those that are stored for training are resized once more, which blurs them; results say so."""
    sigmas: tuple[Sigma, ...] = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
    """Gaussian blur levels, in pixels at the reference resolution; 0: sharp."""
    blurs: tuple[AnyBlur, ...] = ()
    """Levels of any other kind beside them, e.g. [disk-4, shake]."""
    measures: tuple[str, ...] = Field(("accuracy",), min_length=1)
    """What is measured: accuracy (of another task, what that is measured by), or a measure of your own as
    package.module:Name; at the end of training, accuracy is always among them."""
    per_image: bool = False
    """Keep the prediction, confidence and values of each image, too, as Parquet."""
    batch_size: int = Field(256, ge=1)
    """Images that are looked at together; changes speed and memory alone."""
    drop_last: bool = False
    """Leave the last, partial batch out, as the study did by accident; n is then the number of images measured."""
    protocol: Protocol | None = None
    """Scales and crops at which the images are shown; none: the whole image (of a published network, its central crop)
    at the network's own size."""
    deblur: tuple[AnyDeblurring, ...] = ()
    """Methods by which blurred images are restored before they are shown, e.g. [wiener, unsharp amount=2]: all is
    measured with each of them, too, beside the blurred images as they are."""

    def levels(self, reference_resolution: int) -> tuple[Blur, ...]:
        """All levels: those given by sigma, in pixels at `reference_resolution`, then the others."""
        gaussian = (Gaussian(sigma=s, at=reference_resolution) if s else Sharp() for s in self.sigmas)
        return (*gaussian, *self.blurs)

    @model_validator(mode="after")
    def _has_a_level(self) -> "Evaluation":
        if not self.sigmas and not self.blurs:
            raise ValueError("give at least one level, as sigmas or as blurs")
        return self


class Validation(Section):
    """A look at the val split while training, in evaluation mode: the loss and the task's metrics, at each blur and as
    their mean. It never changes the weights."""

    every_epochs: int = Field(0, ge=0)
    """After so many epochs each, and after the last; 0: never."""
    blurs: tuple[AnyBlur, ...] = Field((Sharp(),), min_length=1)
    """At which to look, as labels (sharp, gaussian-8, disk-4) or mappings."""
    keep_best: str | None = None
    """The metric (loss, top1) by whose mean over the levels the best epoch is kept, as best.safetensors beside the
    weights of the last; none: only the last is kept."""

    @model_validator(mode="after")
    def _looks_at_something(self) -> "Validation":
        if self.keep_best and not self.every_epochs:
            raise ValueError(
                f"keep_best={self.keep_best} needs every_epochs of 1 or more: the best epoch is one that was looked at"
            )
        return self


class EarlyStopping(Section):
    """End the run once the val split gets no better. The same epochs wherever the run is interrupted."""

    patience: int = Field(ge=1)
    """Looks without a better one, after which training ends."""
    every_epochs: int = Field(1, ge=1)
    """Epochs from one look to the next."""
    metric: str = "loss"
    """loss, or a metric of the task (top1)."""
    blurs: tuple[AnyBlur, ...] = Field((Sharp(),), min_length=1)
    """Over which the metric is averaged."""


class Start(Section):
    """Another run's checkpoint to go on from, under the settings of this run: its weights, averages and epoch.

    Learning rate and schedule, decay, parameter groups, curriculum, augmentation and draws are this run's own from its
    first step on; data, network, task and optimiser have to be the same (see `blurtrain.training.start`).
    """

    run: str = outside_identity(..., pattern=NAME)
    """Its id; it lies in the same folder of runs. Which state it is, is for sha256 to say."""
    epoch: int = Field(ge=1)
    """So many epochs were done; this run goes on with the next."""
    sha256: Sha256
    """Of its file checkpoints/epoch-NNNN.pt."""


class Loader(Section):
    """How pixels reach the device: never changes them."""

    kind: Literal["auto", "ffcv", "resident", "pytorch"] = "auto"
    """ffcv: read by FFCV's threads; resident: the whole pixel store in the device's memory; pytorch: read by the worker
    processes of torch's DataLoader; auto: ffcv where it can be imported, else resident."""
    workers: int = Field(0, ge=0)
    """FFCV threads (or torch's worker processes) a process; 0: the cores it may use, shared among the node's
    processes."""
    stalled_seconds: float = Field(60.0, gt=0)
    """A loader that brings nothing for so long is taken for dead; network file systems may need more."""
    threads: int = Field(0, ge=0)
    """torch threads a process; 0: as workers."""


class Checkpoints(Section):
    """What a run is resumed from; how often never changes its outcome."""

    every_minutes: float = Field(5.0, ge=0)
    """As soon as the last one is so old, also inside an epoch; 0: after every step."""
    keep: int = Field(2, ge=2)
    """So many of the newest stay, so that a damaged one loses little."""
    keep_epochs: tuple[int, ...] = ()
    """Weights after these epochs (1: the first) are kept for good, as checkpoints/epoch-0020.safetensors; the study
    looks at 20, 40, 60, 80 and 100."""


class Logging(Section):
    """What is logged of a run while it goes on."""

    tensorboard: bool = True
    """Write what TensorBoard shows into the run directory."""
    every_steps: int = Field(100, ge=1)
    """The journal (and TensorBoard) has an entry per so many steps, beside the one per epoch."""
