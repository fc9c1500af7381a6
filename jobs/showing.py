"""One run at a glance: what it is, how it stands, how it learnt, and what it printed last."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blurtrain.data.dataset import open_dataset
from blurtrain.errors import SettingsError
from blurtrain.run import Run, as_begun, existing
from blurtrain.settings import PRESETS, Settings, compose, load_resolved, run_ids
from blurtrain.settings.labels import shown
from blurtrain.terminal import sparkline
from jobs.grid import Member
from jobs.listing import flat
from jobs.output import newest_log
from jobs.record import Row
from jobs.states import states

LOG_LINES = 8
NO_METRICS = {"at", "epoch", "n", "left_out", "skipped", "images_per_second", "data_wait", "memory_gib"}
"""Numbers that the journal has of each epoch, and that say nothing of what was learnt."""


@dataclass(frozen=True)
class Shown:
    """A run, as `blurtrain show` has it."""

    path: Path
    row: Row
    """As `jobs.states.states` has it."""
    own: dict[str, tuple[Any, Any]]
    """The settings that are not those of its presets, by dotted name: its value, and the presets'."""
    curves: dict[str, list[float]]
    """By epoch: loss, the metrics of the task, learning rate and blur; `val ...` of the val split."""
    log: list[str]
    """The last lines that it printed."""


def look_at(run: Run) -> Shown:
    """How a run stands; raises SettingsError where its settings cannot be read."""
    settings = load_resolved(run.path / "settings.yaml")
    (row,) = states([Member(run.id, settings)], run.path.parent)
    log = newest_log(run.path.parent, run.id)
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log else []
    return Shown(run.path, row, beyond_presets(settings), _curves(run), lines)


def _curves(run: Run) -> dict[str, list[float]]:
    curves: dict[str, list[float]] = {}
    for event in run.journal(steps=False):
        if event["event"] in ("epoch", "validation"):
            kind = "val " if event["event"] == "validation" else ""
            for name, value in event.items():
                if name not in NO_METRICS and isinstance(value, int | float):
                    curves.setdefault(f"{kind}{name}", []).append(float(value))
    return curves


def beyond_presets(settings: Settings) -> dict[str, tuple[Any, Any]]:
    """The settings that differ from what dataset, regime and model alone would give, by dotted name: the value, and the
    presets'. Where a name is no preset, its section is compared with the defaults."""
    document: dict[str, Any] = {"dataset": settings.dataset, "regime": settings.regime, "model": settings.model}
    if not (PRESETS / "models" / f"{settings.model}.yaml").is_file():
        document["network"] = {"architecture": settings.network.architecture}
    if not (PRESETS / "regimes" / f"{settings.regime}.yaml").is_file():
        document["curriculum"] = settings.curriculum.model_dump(mode="json")
    try:
        presets = flat(compose(document, "presets"))
    except SettingsError:  # a curriculum of one's own that wants more of the run than it says
        presets = {}
    named = ("dataset", "regime", "model", "seed")
    own = {name: value for name, value in flat(settings).items() if name not in named}
    return {name: (value, presets.get(name)) for name, value in own.items() if value != presets.get(name)}


def as_planned(settings: Settings, runs: Path) -> list[str]:
    """What training with these settings would do, in lines: which run it is, how it stands, its length, and what is not
    of its presets. Raises DataError where the dataset is not prepared."""
    dataset = open_dataset(Path(settings.data.root), settings.dataset)
    run_id, settings = as_begun(run_ids(settings, dataset.data_id)(settings.seed), settings, existing(runs))
    (row,) = states([Member(run_id, settings)], runs)
    o, images = settings.optimisation, len(dataset.split("train")[0])
    stands = f"{row['state']}, epoch {row['epoch']:g} of {row['epochs']}"
    return [
        f"{runs / run_id}",
        f"  {stands}: {'nothing to do' if row['state'] == 'done' else 'would be trained from there'}",
        f"  {images} training images, {len(dataset.classes)} classes: {images // o.batch_size} steps of {o.batch_size} "
        f"images an epoch",
        f"  {settings.network.architecture}, {settings.curriculum.describe()}",
        *_own(beyond_presets(settings)),
    ]


def _own(own: dict[str, tuple[Any, Any]]) -> list[str]:
    width = max(map(len, own), default=0)
    lines = ["settings that are not those of its presets" + (":" if own else ": none")]
    return [*lines, *(f"  {name:{width}}  {shown(value)}  ({shown(preset)})" for name, (value, preset) in own.items())]


def as_text(run: Shown) -> str:
    """For a terminal."""
    row = run.row
    lines = [f"{row['run_id']}: {row['state']}, epoch {row['epoch']:g} of {row['epochs']}", f"  {run.path}"]
    lines += [f"  {row['message']}"] if row["message"] else []
    lines += ["", *_own(run.own)]
    if run.curves:
        width = max(map(len, run.curves))
        lines += ["", "by epoch:"]
        lines += [
            f"  {name:{width}}  {sparkline(values)}  {values[0]:.4g} -> {values[-1]:.4g}"
            for name, values in run.curves.items()
        ]
    if run.log:
        lines += ["", "printed last:", *(f"  {line}" for line in run.log)]
    return "\n".join(lines)
