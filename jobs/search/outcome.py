"""What has come of a search: its trials as rows, the best as a settings file and as a grid."""

import csv
import io
from typing import Any

import yaml

from blurtrain.documents import shown
from blurtrain.files import publish as write
from blurtrain.run import Run
from jobs.search.file import SearchFile
from blurtrain.trials import Study, Trial, values

Row = dict[str, Any]


def rows(file: SearchFile, study: Study) -> list[Row]:
    """A row a trial: trial, state, epoch, epochs, objective, ended, message, runs, and what the trial sets, by path."""
    found = []
    for trial in study.trials():
        reached = values(file.search.objective, study.runs, trial.runs)
        epoch = max(reached, default=0)
        found.append({
            "trial": trial.number,
            "state": trial.ended or _state(study, trial),
            "epoch": epoch,
            "epochs": file.base.optimisation.epochs,
            "objective": reached.get(epoch),
            "seeds": len(trial.runs),
            "ended": trial.ended,
            "message": trial.message,
            "runs": list(trial.runs),
            "settings": trial.active,
        })  # fmt: skip
    return found


def _state(study: Study, trial: Trial) -> str:
    runs = [Run(study.runs / run_id) for run_id in trial.runs]
    return "running" if any(run.beats() for run in runs) else "open"


def best(file: SearchFile, found: list[Row]) -> Row | None:
    """The best of the trials that came to their end; the first of equals."""
    done = [row for row in found if row["ended"] == "done" and row["objective"] is not None]
    return max(done, key=lambda row: row["objective"] if file.is_max else -row["objective"], default=None)


def table(file: SearchFile, found: list[Row]) -> str:
    """The rows for a terminal."""
    top = best(file, found)
    lines = [f"{'trial':>5} {'state':8} {'epoch':>7} {'objective':>10}  settings"]
    for row in found:
        mark = "*" if top is row else " "
        value = "" if row["objective"] is None else f"{row['objective']:.4g}"
        says = "base settings" if row["trial"] == 0 else ""
        said = ", ".join(filter(None, [says, *(f"{k}={shown(v)}" for k, v in row["settings"].items())]))
        lines.append(
            f"{row['trial']:>5} {row['state']:8} {row['epoch']:>3}/{row['epochs']:<3} {value:>10}{mark} {said}".rstrip()
        )
    left = file.search.trials - len(found)
    if left > 0:
        lines.append(f"{left} trials are still to begin")
    return "\n".join(lines)


def publish(file: SearchFile, study: Study) -> list[Row]:
    """Write best.yaml and trials.csv; returns the rows."""
    found = rows(file, study)
    if top := best(file, found):
        _publish_best(file, study, top)
    paths = list(file.search.space)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["trial", "state", "epoch", "epochs", "objective", "seeds", *paths, "runs", "message"])
    for row in found:
        points = ["" if p not in row["settings"] else shown(row["settings"][p]) for p in paths]
        writer.writerow(
            [
                *(row[k] for k in ("trial", "state", "epoch", "epochs", "objective", "seeds")),
                *points,
                " ".join(row["runs"]),
                row["message"],
            ]
        )
    write(study.folder / "trials.csv", out.getvalue())
    return found


def _publish_best(file: SearchFile, study: Study, top: Row) -> None:
    """A settings file for `train`, and a grid file of all seeds: they give the trial's runs, and on the same kind of
    machine their bits, as they compute with as many threads."""
    settings = file.members(study.trials()[top["trial"]].flat)[0].settings
    loader = settings.loader.model_copy(update={"threads": Run(study.runs / top["runs"][0]).threads()})
    document = settings.model_copy(update={"loader": loader}).model_dump(mode="json")
    over = "1 seed" if top["seeds"] == 1 else f"the mean of {top['seeds']} seeds"
    head = f"# Trial {top['trial']} of search {study.id}: {objective(file)} {top['objective']:.6g}, {over}\n"
    write(study.folder / "best.yaml", head + yaml.safe_dump(document, sort_keys=False))
    document.pop("seed")
    grid = {"axes": {"seed": list(file.search.seeds)}, "settings": document}
    write(study.folder / "best-grid.yaml", head + yaml.safe_dump(grid, sort_keys=False))


def objective(file: SearchFile) -> str:
    """What is made better, in words."""
    o = file.search.objective
    at = "" if o.of == "training" else f" at {', '.join(blur.label for blur in o.blurs)}"
    return f"{o.of} {o.metric}{at}"


def summary(file: SearchFile, study: Study, found: list[Row]) -> str:
    """The table, and where the best lies."""
    end = f"\n{study.folder / 'best.yaml'}" if (study.folder / "best.yaml").exists() else ""
    return table(file, found) + end
