"""The report of a folder of runs that holds searches."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from search_folder import SearchFolder
from test_report import Text

import analysis
from analysis.collecting.runs import scan
from analysis.searches.section import without_trials
from analysis.searches.trials import searches
from analysis.tabulation.specs import read_table_spec
from analysis.tabulation.tables import tables

MakeRun = Callable[..., str]
RATE, OPTIMISER = "optimisation.learning_rate", "optimisation.optimiser"


@pytest.fixture
def folder(runs: Path, make_run: MakeRun) -> SearchFolder:
    """A grid's runs, and a search of five trials around the settings of one of them."""
    make_run(runs, "pets", "clear", 0, {0.0: 50})
    made = SearchFolder(runs, make_run, trials=5)
    made.trial([[10] * 9], counts=[{0.0: 40, 8.0: 30}])
    made.trial([[20] * 9], {RATE: 5e-3}, counts=[{0.0: 41, 8.0: 31}])
    made.trial([[30] * 9], {RATE: 2e-4, OPTIMISER: "sgd"}, counts=[{0.0: 52, 8.0: 30}])
    made.trial([[9, 9]], {RATE: 4e-3}, ended="pruned")
    made.trial([[9]], {RATE: 9e-3}, ended="failed", message="loss is <b>NaN</b> & more")
    return made


@pytest.fixture
def read(folder: SearchFolder, tmp_path: Path) -> Text:
    return Text(analysis.report(folder.runs, tmp_path / "out").read_text())


def part(page: Text, begin: str, end: str) -> str:
    return page.text.split(begin, 1)[1].split(end, 1)[0]


def test_all_trials_stand_in_one_table(read: Text, tmp_path: Path) -> None:
    shown = part(read, "All 5 trials", "This grid beside")
    for number, state in enumerate(("done", "done", "done", "pruned", "failed")):
        assert re.search(rf"\b{number} (best |base settings )?{state} ", shown)
    assert "2 best done 9 of 9 30 45 0.0002 sgd trained for all 9 epochs" in re.sub(r" +", " ", shown)
    assert "0 base settings done 9 of 9 10 45 0.001 adam" in shown
    assert "failed: loss is <b>NaN</b> & more" in shown and "b" not in read.tags
    table = pd.read_csv(tmp_path / "out" / "searches" / "mine-01234567" / "trials.csv")
    assert table["state"].tolist() == ["done", "done", "done", "pruned", "failed"]
    assert table[RATE].tolist() == [1e-3, 5e-3, 2e-4, 4e-3, 9e-3]


def test_the_best_stands_beside_the_base_settings_on_test_images(read: Text) -> None:
    shown = part(read, "The best beside the base settings", "Trials")
    assert re.search(r"sharp 86 1 60\.5 \S+ 46\.5 \S+ \+14\.0 -?\S+ to \S+ over images, not in pairs", shown)
    assert re.search(r"sigma 8 86 1 34\.9 \S+ 34\.9 \S+ \+0\.0 ", shown)  # as it came
    assert "chosen by validation top1 at sharp, of 45 images of the val split" in shown
    assert "Importance of the settings: not shown. 3 finished trials are too few" in read.text
    assert f"{RATE}=0.0002 , {OPTIMISER}=sgd" in read.text


def test_trials_do_not_flood_the_results(folder: SearchFolder, read: Text, tmp_path: Path) -> None:
    shown = part(read, "Also as results.csv", "Each trial of a search trains")
    ids = [trial.runs[0] for trial in folder.study.trials()]
    assert [run_id in shown for run_id in ids] == [True, False, True, False, False]
    assert f"{RATE}=0.0002" in shown and f"{RATE}=0.001" in shown  # two rows, named by what differs
    assert set(pd.read_csv(tmp_path / "out" / "results.csv")["run_id"]) >= set(ids[:3])
    assert "3 of 6 runs done" not in read.text and re.search(r"4 of 6 runs done", read.text)


def test_nothing_is_averaged_over_trials(folder: SearchFolder) -> None:
    frame = analysis.load(folder.runs)
    assert frame[frame["dataset"] == "faces"].groupby("settings_id")["run_id"].nunique().tolist() == [1, 1, 1]


def test_a_table_that_means_one_run_is_not_emptied_by_trials(folder: SearchFolder) -> None:
    file = folder.runs.parent / "sharp.yaml"
    line = "[{label: a, match: {blur: sharp, dataset: faces}}]"
    file.write_text(f"title: sharp\nrows: {line}\ncolumns: [{{label: clear, match: {{regime: clear}}}}]")
    every = scan(folder.runs)
    of_grids = without_trials(every, searches(folder.runs)[0], best=False)
    (made,) = tables([read_table_spec(file)], of_grids)
    assert made.cells[0][0].runs == folder.study.trials()[0].runs  # the base settings
    assert not tables([read_table_spec(file)], every)


def test_what_is_gone_leaves_no_files(folder: SearchFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    old = out / "searches" / "former-89abcdef" / "learning.svg"
    own = out / "searches" / "notes.txt"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    own.write_text("mine")
    analysis.report(folder.runs, out)
    assert not old.exists() and own.read_text() == "mine"
    assert (out / "searches" / "mine-01234567" / "parallel.svg").exists()


def test_a_search_that_cannot_be_read_is_named(folder: SearchFolder, tmp_path: Path) -> None:
    (folder.study.folder / "search.json").write_text("{")
    page = Text(analysis.report(folder.runs, tmp_path / "out").read_text())
    assert "search mine-01234567 is not shown" in page.text and "All 5 trials" not in page.text


def test_every_address_of_the_page_is_a_file(read: Text, tmp_path: Path) -> None:
    outside = [a for a in read.addresses if not a.startswith(("#", "data:image/svg+xml;base64,"))]
    assert any(address.startswith("searches/") for address in outside)
    assert all((tmp_path / "out" / address).is_file() for address in outside)


def test_a_folder_of_trials_alone_shows_the_search_first(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    made = SearchFolder(runs, make_run)
    made.trial([[10] * 9])
    made.trial([[20] * 9], {RATE: 5e-3})
    page = Text(analysis.report(runs, tmp_path / "out").read_text())
    assert page.text.index("The best beside the base settings") < page.text.index("Top-1 accuracy over blur")


def test_without_searches_there_is_no_section(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    make_run(runs)
    page = Text(analysis.report(runs, tmp_path / "out").read_text())
    assert "Searches" not in page.text and not (tmp_path / "out" / "searches").exists()
