"""The figures of a report beside accuracy and ratio: each kind that the runs have something to show of."""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from analysis.collecting.collection import Collection as Runs
from analysis.collecting.invariance import invariances
from analysis.figures.calibration import calibrated, calibration_figure
from analysis.figures.corruptions import corruptions, corruptions_figure
from analysis.figures.datasets import datasets_figure
from analysis.figures.deblurring import deblurring_figure, restored
from analysis.figures.features import examples_figure, families, lines_figure, maps_figure, strongest
from analysis.figures.filters import filters_figure, stages_of
from analysis.figures.frequencies import frequencies_figure, is_drawable
from analysis.figures.learning_curves import learning, learning_figures
from analysis.figures.matrix import matrices, matrix_figure
from analysis.figures.minimal_blur import withstood, withstood_figure
from analysis.figures.receptive_fields import fields_figure, fields_measured
from analysis.figures.settings import settings_figure
from analysis.figures.shape_bias import decisions, shape_bias_figure
from analysis.figures.stages import stage_ratio_figure, stages, stages_figure
from analysis.figures.style import Picture
from analysis.figures.tuning import tuning_figure, tuning_measured
from analysis.literature import REGIMES, study_order
from analysis.panels import Panel
from analysis.reporting.overview import varying
from blurtrain.run import Run

KINDS = ("settings", "datasets", "stages", "stage-ratio", "matrix", "learning", "filters", "calibration", "corruptions",
         "deblurring", "frequencies", "shape-bias", "features", "minimal-blur", "receptive-fields",
         "tuning")  # fmt: skip
"""What the names of the files begin with."""
MOST = 12
"""Pictures of one kind; from Python, all can be drawn."""
MOST_LEARNING = 4
"""Pictures of learning curves, which hold a dozen experiments each, and take the longest."""
MOST_PANELS = 48
"""Charts of one figure."""
BARS = "Bars: 95 % intervals, as the legend says."


def pictures(runs: Runs, run_ids: Iterable[str], panels: Sequence[Panel], final: Sequence[Panel]) -> list[Picture]:
    """All there is to show of these runs. `panels`: theirs, at all stages; `final`: after their last epoch."""
    wanted = frozenset(run_ids)
    kinds: tuple[Iterator[Picture], ...] = (
        _settings(final),
        _datasets(final),
        _stages(panels),
        _matrices(final, runs, wanted),
        itertools.islice(_learning(runs, wanted), MOST_LEARNING),
        _filters(runs, wanted),
        _calibration(final, runs),
        _corruptions(runs, wanted),
        _deblurring(runs, wanted),
        _frequencies(final),
        _shape_bias(runs, wanted),
        _features(runs, wanted),
        _minimal_blur(final, runs),
        _fields(runs, wanted),
        _tuning(runs, wanted),
    )
    found: list[Picture] = []
    for kind in kinds:
        found += itertools.islice(kind, MOST)
    return found


def _settings(panels: Sequence[Panel]) -> Iterator[Picture]:
    """A figure for each setting that runs were made to differ in."""
    names, axes = Names("settings"), varying(panels)
    for name in (axis for axis in axes if "." in axis or axis == "model"):
        others = [axis for axis in axes if axis != name]
        if figure := settings_figure(panels, name, others):
            yield Picture(
                names(name),
                f"Accuracy against {name}",
                f"Line charts, one a dataset and blur of the test images: top-1 accuracy against {name}, a line for "
                "each combination of the others.",
                f"A line for each combination of what else differs. {BARS}",
                figure,
            )


def _datasets(panels: Sequence[Panel]) -> Iterator[Picture]:
    if figure := datasets_figure(panels):
        yield Picture(
            "datasets",
            "All datasets on one axis",
            "Line chart: accuracy divided by that of clear against the blur of the test images, a line a dataset.",
            f"Above 1, more blurred images are recognised than after training on clear ones. {BARS}",
            figure,
        )


def _stages(panels: Sequence[Panel]) -> Iterator[Picture]:
    found = stages(panels)
    names = Names("stages")
    if figure := stage_ratio_figure(found):
        yield Picture(
            "stage-ratio",
            "Ratio over the stages of training",
            "Line charts, one a blur: accuracy of blurry-to-clear divided by that of clear against the epochs trained, "
            "a line a dataset.",
            f"By the weights that were kept after some epochs. {BARS}",
            figure,
        )
    for one in found:
        yield Picture(
            names(one.dataset),
            f"Stages of training: {one.title}",
            "Line charts, one a regime: top-1 accuracy against the epochs trained, a line a blur of the test images.",
            f"Top-1 by the weights that were kept after some epochs; {one.model}. {BARS}",
            stages_figure(one),
        )


def _matrices(panels: Sequence[Panel], runs: Runs, run_ids: frozenset[str]) -> Iterator[Picture]:
    names = Names("matrix")
    for matrix in matrices(panels, _waiting(runs, run_ids)):
        yield Picture(
            names(matrix.panel.dataset),
            f"Train blur and test blur: {matrix.panel.title}",
            "Heat map with numbers: top-1 accuracy of networks trained on different blurs, a row each, at each blur of "
            "the test images, a column each.",
            "Top-1 accuracy in percent, means over seeds; of many levels, some. Numbers at the columns are sigmas "
            "(pixels at 224 px), labels other kernels. Intervals are in the tables.",
            matrix_figure(matrix),
        )


def _waiting(runs: Runs, run_ids: frozenset[str]) -> dict[tuple[str, str], dict[str, str]]:
    """By dataset and model, the regimes that have no done run, with the states of those they have."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in runs.rows:
        if row["run_id"] in run_ids:
            found.setdefault((row["dataset"], row["model"]), {}).setdefault(row["regime"], []).append(row["state"])
    return {
        about: {regime: _states(states) for regime, states in regimes.items() if "done" not in states}
        for about, regimes in found.items()
    }


def _states(states: Sequence[str]) -> str:
    counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    return f"no run is done yet: {', '.join(counts)}"


def _learning(runs: Runs, run_ids: frozenset[str]) -> Iterator[Picture]:
    names = Names("learning")
    for dataset, title, figure in learning_figures(learning(runs, run_ids)):
        yield Picture(
            names(dataset),
            f"Learning curves: {title}",
            "Line charts, one a regime: loss and top-1 accuracy over the epochs, on training and validation images; "
            "under them the blur of the training images.",
            "As logged while training, also of runs that are not done: thin lines single seeds, thick ones their mean, "
            "as far as all of them were trained. Below: sigma (the mean over the images of an epoch, in pixels at "
            "224 px), or the shares of the blurs. Training images are augmented and blurred, those of the val split "
            "are not: the two are not to be compared in height.",
            figure,
        )


def _filters(runs: Runs, run_ids: frozenset[str]) -> Iterator[Picture]:
    """Of each regime the run with the lowest seed, where stages were kept."""
    names = Names("filters")
    chosen: dict[tuple[str, str], dict[str, tuple[int, int, Run]]] = {}
    for row in sorted(runs.rows, key=lambda row: row["seed"]):
        run = Run(runs.folder / row["run_id"])
        if row["run_id"] in run_ids and len(stages_of(run)) > 1:
            own = chosen.setdefault((row["dataset"], row["model"]), {})
            own.setdefault(row["regime"], (row["seed"], row["epochs"], run))
    for (dataset, model), own in chosen.items():
        rows = sorted(own.items(), key=lambda item: study_order(REGIMES)(item[0]))
        figure = filters_figure([(f"{regime}, seed {seed}", epochs, run) for regime, (seed, epochs, run) in rows])
        if figure:
            yield Picture(
                names(dataset),
                f"Filters of the first layer: {model} on {dataset}",
                "Images of the filters of the first layer: a row a regime, a column a stage of training.",
                "One seed of each regime. Each filter is scaled by itself, in the same way: grey is 0, and its largest "
                "absolute weight lies at the end of the scale.",
                figure,
            )


def _calibration(panels: Sequence[Panel], runs: Runs) -> Iterator[Picture]:
    names = Names("calibration")
    for one in calibrated(panels, runs):
        yield Picture(
            names(one.panel.dataset),
            f"Calibration: {one.panel.title}",
            "Three line charts, a line a regime: calibration error against the blur of the test images; share of right "
            "answers against confidence; accuracy against the share of images that are answered.",
            "Means over seeds. Calibration error: the gap between confidence and share of right answers, averaged over "
            "bins of equal width; where test images are few, it is too high. Coverage: the network leaves out the "
            "images that it is least sure of.",
            calibration_figure(one),
        )


def _corruptions(runs: Runs, run_ids: frozenset[str]) -> Iterator[Picture]:
    names = Names("corruptions")
    for one in corruptions(runs, run_ids):
        yield Picture(
            names(f"{one.dataset}-{one.form}"),
            f"Blurs of ImageNet-C: {one.model} on {one.dataset}, {one.form}",
            "Line charts, one a family of blurs: top-1 error against severity, a line a regime.",
            "Errors on the blurs of ImageNet-C. blur-mCE: errors summed over severities, divided by AlexNet's, mean of "
            "the first four families; mCE is over fifteen corruptions, and another number. AlexNet's errors are of "
            "ImageNet's 1000 classes. Bars: 95 % intervals.",
            corruptions_figure(one),
        )


def _deblurring(runs: Runs, run_ids: frozenset[str]) -> Iterator[Picture]:
    names = Names("deblurring")
    for one in restored(runs, run_ids):
        yield Picture(
            names(f"{one.model}-{one.dataset}"),
            f"Deblurring: {one.model} on {one.dataset}",
            "Points, two charts a blur, a row a method of deblurring: top-1 accuracy of each regime, and PSNR.",
            "Accuracy on blurred images as they are, and as each method restores them (means over seeds), beside how "
            "near these are to the sharp ones.",
            deblurring_figure(one),
        )


def _frequencies(panels: Sequence[Panel]) -> Iterator[Picture]:
    names = Names("frequencies")
    for panel in filter(is_drawable, panels):
        yield Picture(
            names(panel.dataset),
            f"Spatial frequencies: {panel.title}",
            "Line charts, one a filter: top-1 accuracy against the cut-off, a line a regime.",
            "Top-1 on test images of which frequencies below or above a cut-off, or in a band, were kept "
            f"(Butterworth). {BARS}",
            frequencies_figure(panel),
        )


def _shape_bias(runs: Runs, run_ids: frozenset[str]) -> Iterator[Picture]:
    names = Names("shape-bias")
    for (dataset, model, _), some in decisions(runs, run_ids).items():
        yield Picture(
            names(dataset),
            f"Shape or texture: {model} on {dataset}",
            "Points with intervals, a row a regime: share of decisions for shape among those for shape or texture.",
            "Images that have the shape of one thing and the texture of another: of the decisions for either, the "
            "share of those for shape. Bars: Wilson's 95 % interval over decisions, each seed by itself.",
            shape_bias_figure(dataset, model, some),
        )


def _features(runs: Runs, run_ids: frozenset[str]) -> Iterator[Picture]:
    names = Names("features")
    for one in invariances(runs, run_ids):
        level = strongest(one.levels)
        if figure := maps_figure(one, level):
            yield Picture(
                names(f"maps-{one.dataset}"),
                f"Features under blur: {one.title}",
                "Maps, a row a regime, a column a stage of the network: how many channels differ between the sharp and "
                "the blurred image, at each place.",
                "Activations binarised at 0; the share of channels that differ (after Vasiljevic et al. 2016, Fig. 4), "
                "mean of images and seeds. All maps in the same colours.",
                figure,
            )
        if figure := examples_figure(one, level):
            yield Picture(
                names(f"examples-{one.dataset}"),
                f"Features of single images under blur: {one.title}",
                "As the figure before, of single images, which stand on the left.",
                "Of one seed. All maps in the same colours.",
                figure,
            )
        for family in families(one.levels):
            if figure := lines_figure(one, family):
                yield Picture(
                    names(f"lines-{one.dataset}-{family}"),
                    f"Features over {family}: {one.title}",
                    "Line charts, a column a stage of the network, a line a regime: Hamming distance, and linear CKA, "
                    "between sharp and blurred activations against the blur.",
                    "0: the sharp images themselves. Linear CKA of two activations that differ by offset, scale and "
                    f"rotation alone is 1. {BARS}",
                    figure,
                )


def _minimal_blur(panels: Sequence[Panel], runs: Runs) -> Iterator[Picture]:
    names = Names("minimal-blur")
    for one in withstood(panels, runs):
        yield Picture(
            names(one.panel.dataset),
            f"Minimal blur: {one.panel.title}",
            "Line charts, a line a regime: share of the test images whose prediction is not changed yet against the "
            "width of the blur, and against the loss of quality.",
            "Of each image, the smallest blur that changes its prediction (Kaplan-Meier: some are changed by none). "
            "In numbers, of each regime the images that are left, of all seeds, and the median: of one seed with its "
            "95 % interval over images, of several the lowest and the highest; more: more than half are left. A "
            "prediction that does not change may be wrong.",
            withstood_figure(one),
        )


def _fields(runs: Runs, run_ids: frozenset[str]) -> Iterator[Picture]:
    names = Names("receptive-fields")
    for one in fields_measured(runs, run_ids):
        yield Picture(
            names(one.dataset),
            f"Receptive fields: {one.model} on {one.dataset}",
            "Line charts, a line a regime: size of the receptive field against the layer, theoretical and effective; "
            "energy moment of the first layer against epochs; share of its filters that Gabor functions fit.",
            "Means over seeds; grey: the same architecture as it is drawn, without training. Theoretical: all that a "
            "unit can depend on. Effective: what it does depend on, by gradients: side of the area above 4.55 % of the "
            "largest. A difference that lies within the grey band is none that training has made.",
            fields_figure(one),
        )


def _tuning(runs: Runs, run_ids: frozenset[str]) -> Iterator[Picture]:
    names = Names("tuning")
    for one in tuning_measured(runs, run_ids):
        yield Picture(
            names(one.dataset),
            f"Tuning to spatial frequency: {one.model} on {one.dataset}",
            "Line charts, one a layer, a line a regime: response to gratings against their spatial frequency.",
            "Responses of each unit at its own orientation, divided by its largest, then averaged over the units that "
            "respond; means over seeds. Grey: the same architecture as it is drawn, without training.",
            tuning_figure(one),
        )


class Names:
    """Names of files: of letters that are safe anywhere, and none twice."""

    def __init__(self, kind: str):
        self._kind, self._used = kind, set[str]()

    def __call__(self, about: str) -> str:
        base = f"{self._kind}-{re.sub('[^a-z0-9.]+', '-', about.lower()).strip('-.')[:60]}"
        name = next(name for name in _numbered(base) if name not in self._used)
        self._used.add(name)
        return name


def _numbered(base: str) -> Iterable[str]:
    yield base
    for k in range(2, 10**6):
        yield f"{base}-{k}"
