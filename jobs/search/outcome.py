"""What has come of a search: its trials as rows, the best as a settings file and as a grid."""

import csv
import io
from collections import Counter
from typing import Any

from blurtrain.documents import dump_yaml, shown
from blurtrain.files import is_held, read_json
from blurtrain.files import publish as write
from blurtrain.run import Run
from blurtrain.settings.labels import short_names
from blurtrain.trials import ENDS, Study, best_of, standing
from jobs.search.file import SearchFile
from jobs.search.lineage import chain

Row = dict[str, Any]
FIELDS = ("trial", "state", "epoch", "epochs", "objective", "sd", "seeds")
"""Of trials.csv."""
LINEAGE = "lineage.yaml"
"""Of population based training, in place of best.yaml."""


def rows(file: SearchFile, study: Study) -> list[Row]:
    """A row a trial: trial, state (done, pruned, failed, running, open), at (epochs its runs have been trained), epoch
    (the last with a value of the objective), epochs, objective, sd (over several seeds), seeds, ended, message, best
    (whether it is the best of those that are done), is_base (whether it has the base settings, as it had at its
    start), runs, and what the trial sets, by path."""
    found = []
    for trial in study.trials():
        how = standing(file.search.objective, study.runs, trial)
        found.append({
            "trial": trial.number,
            "state": how.state,
            "at": round(how.at, 2),
            "epoch": how.epoch,
            "epochs": file.base.optimisation.epochs,
            "objective": how.objective,
            "sd": how.sd,
            "seeds": len(trial.runs),
            "ended": trial.ended,
            "message": trial.message,
            "best": False,
            "is_base": trial.flat is None and not trial.lineage,
            "runs": list(trial.runs),
            "settings": trial.active,
        })  # fmt: skip
    if top := best(file, found):
        top["best"] = True
    return found


def best(file: SearchFile, found: list[Row]) -> Row | None:
    """The best of the trials that came to their end; the first of equals."""
    number = best_of([(row["state"], row["objective"]) for row in found], file.is_max)
    return None if number is None else found[number]


def table(file: SearchFile, study: Study, found: list[Row]) -> str:
    """The rows for a terminal."""
    paths = list(file.search.space)
    header = ["trial", "state", "epoch", "objective", *short_names(paths).values(), ""]
    lines = [header, *(_cells(row, paths) for row in found)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(header))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*text, "", _summary(file, study, found)])


def _cells(row: Row, paths: list[str]) -> list[str]:
    sd = "" if row["sd"] is None else f" ± {row['sd']:.2g}"
    value = "" if row["objective"] is None else f"{row['objective']:.4g}{sd}{' *' if row['best'] else ''}"
    settings = [shown(row["settings"][path]) if path in row["settings"] else "" for path in paths]
    notes = "base settings" if row["is_base"] else ""
    if row["state"] == "failed":
        notes = ": ".join(filter(None, [notes, row["message"]]))
    return [str(row["trial"]), row["state"], f"{row['at']:>4g}/{row['epochs']}", value, *settings, notes]


def _summary(file: SearchFile, study: Study, found: list[Row]) -> str:
    """How many trials stand how, which is the best so far, and whether a process is at the search."""
    counts = Counter(row["state"] for row in found)
    left = max(0, file.search.trials - len(found))
    parts = [f"{counts[state]} {state}" for state in (*ENDS, "running", "open") if counts[state]]
    parts += [f"{left} to begin"] if left else []
    lines = [f"{len(found) + left} trials: {', '.join(parts)}"]
    if top := best(file, found):
        bases = [row["objective"] for row in found if row["is_base"] and row["ended"] == "done" and not row["best"]]
        beside = f" (base settings: {bases[0]:.4g})" if bases else ""
        what = file.search.objective.words
        lines.append(f"* best so far, by {what}: trial {top['trial']}: {top['objective']:.4g}{beside}")
    if left or counts["running"] or counts["open"]:
        who = read_json(study.folder / "driver.json") or {}
        lines.append(
            f"process {who.get('pid')} on {who.get('host')} is at it"
            if is_held(study.driver)
            else "no process is at it; `blurtrain tune` goes on with it"
        )
    return "\n".join(lines)


def publish(file: SearchFile, study: Study) -> list[Row]:
    """Write best.yaml (or lineage.yaml) and trials.csv; returns the rows."""
    found = rows(file, study)
    if top := best(file, found):
        if file.search.searcher.name == "pbt":
            write(study.folder / LINEAGE, _lineage(file, study, top))
        else:
            _publish_best(file, study, top)
    paths = list(file.search.space)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*FIELDS, *paths, "runs", "message"])
    for row in found:
        points = ["" if p not in row["settings"] else shown(row["settings"][p]) for p in paths]
        writer.writerow([*(row[k] for k in FIELDS), *points, " ".join(row["runs"]), row["message"]])
    write(study.folder / "trials.csv", out.getvalue())
    return found


def _publish_best(file: SearchFile, study: Study, top: Row) -> None:
    """A settings file for `train`, and a grid file of all seeds: they give the trial's runs, and on the same kind of
    machine their bits, as they compute with as many threads."""
    settings = file.members(study.trials()[top["trial"]].flat)[0].settings
    loader = settings.loader.model_copy(update={"threads": Run(study.runs / top["runs"][0]).threads()})
    document = settings.model_copy(update={"loader": loader}).model_dump(mode="json")
    over = "1 seed" if top["seeds"] == 1 else f"the mean of {top['seeds']} seeds"
    what = file.search.objective.words
    head = f"# Trial {top['trial']} of search {study.id}: {what} {top['objective']:.6g}, {over}\n"
    write(study.folder / "best.yaml", head + dump_yaml(document))
    document.pop("seed")
    grid = {"axes": {"seed": list(file.search.seeds)}, "settings": document}
    write(study.folder / "best-grid.yaml", head + dump_yaml(grid))


def _lineage(file: SearchFile, study: Study, top: Row) -> str:
    """How the weights of the best member came about, as YAML."""
    trials = study.trials()
    stages = chain(trials[top["trial"]], trials, file.base.optimisation.epochs)
    over = "1 seed" if top["seeds"] == 1 else f"the mean of {top['seeds']} seeds"
    head = [
        f"Trial {top['trial']} of search {study.id}: {file.search.objective.words} {top['objective']:.6g}, {over}",
        "Its settings changed while it was trained, each time with the state of a better one, so that no one run has",
        "them all, and no one settings file gives its weights. Each stage goes on from the checkpoints with which the",
        "one before it ends: checkpoints/epoch-NNNN.pt of its runs, by their SHA-256. The stages' runs, trained one",
        "after the other by their settings.yaml, give the same weights once more.",
    ]
    document = {"objective": top["objective"], "weights": top["runs"], "stages": stages}
    return "".join(f"# {line}\n" for line in head) + dump_yaml(document)


def summary(file: SearchFile, study: Study, found: list[Row]) -> str:
    """The table, and where the settings of the best lie."""
    ends = [study.folder / name for name in ("best.yaml", LINEAGE)]
    return "\n".join([table(file, study, found), *(str(path) for path in ends if path.exists())])
