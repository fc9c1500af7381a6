"""Tables as text and files: what they say, that they say it again, and that no name breaks out of them."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from measured_runs import images, measured

import analysis
from analysis.tabulation.rendering import FORMATS, as_csv, as_html, as_json, as_latex, as_markdown, as_parquet, as_text
from analysis.tabulation.rendering.tidy import tidy
from analysis.tabulation.tables import Table

MakeRun = Callable[..., str]
NASTY = r'<script>alert(1)</script> & 50% _x_ ^{y} ~ #1 $z$ \input{a} | *b* `c` [d](e) "q" é 中 <!-- '
FILE = "network.pretrained.file"
OPTIONS: dict[str, Any] = {"rows": "regime", "columns": "blur", "baseline": "regime=clear", "mark": "best"}


@pytest.fixture
def table(runs: Path, make_run: MakeRun) -> Table:
    for regime, right in (("clear", 30), ("blurry", 45)):
        for seed in (0, 1):
            measured(runs, make_run, {"sharp": images(right + seed), "disk-4": images(right - 5)}, regime, seed, True)
    measured(runs, make_run, {"sharp": images(2)}, "d8")
    return analysis.table(OPTIONS, runs)


@pytest.fixture
def nasty(runs: Path, make_run: MakeRun) -> Table:
    """Names of rows, columns and title, a setting and a blur that are all but friendly."""
    label = NASTY + "\nnew line\x1b[31m"
    settings = {"network": {"pretrained": {"file": NASTY, "sha256": "a" * 64}}}
    measured(runs, make_run, {"sharp": images(30), NASTY: images(20)}, "x", settings=settings)
    content = {
        "title": label, "about": label,
        "rows": [{"label": label, "match": {"blur": "sharp"}}, {"label": "[2pt]", "match": {"blur": "disk-4"}},
                 {"label": "c"}],
        "columns": [{"label": label}, {"label": "none", "none": label}],
    }  # fmt: skip
    made, found = (analysis.table(one, runs) for one in (content, {"rows": FILE, "columns": "blur"}))
    assert made.has_numbers and found.has_numbers and NASTY in found.rows[0].label
    assert [column.label for column in found.columns] == ["sharp", NASTY]
    for name, render in FORMATS.items():
        assert render(found), name
    return replace(made, rows=(*made.rows[:2], found.rows[0]), columns=(made.columns[0], found.columns[1]))


def test_every_format_gives_the_same_again(table: Table, runs: Path) -> None:
    again = analysis.table(OPTIONS, runs)
    for name, render in FORMATS.items():
        assert render(table) == render(table) == render(again), name


def test_text(table: Table) -> None:
    lines = as_text(table).splitlines()
    assert lines[0] == "Top-1 by regime and blur: alexnet-sup on faces"
    assert lines[2].split() == ["regime", "sharp", "disk-4"]
    row = next(line for line in lines if line.startswith("blurry"))
    assert row.split() == ["blurry", "91.0*", "80.0*"]
    assert any(line.split()[:1] == ["d8"] and "[a]" in line for line in lines)
    assert "[a] not measured at this blur" in lines
    assert any(line.startswith("Test images: n = 50; seeds: 2 (clear; blurry), 1 (d8)") for line in lines)


def test_text_breaks_into_blocks_where_it_is_too_wide(runs: Path, make_run: MakeRun) -> None:
    measured(runs, make_run, {f"disk-{k}": images(30) for k in range(1, 30)})
    text = as_text(analysis.table({"rows": "regime", "columns": "blur"}, runs), 80)
    body = text.split("Top-1 in percent")[0].splitlines()
    assert max(map(len, body)) <= 80 and sum(line.startswith("clear") for line in body) > 3


def test_markdown_is_a_table(table: Table) -> None:
    lines = as_markdown(table).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 5 and {line.count(" | ") for line in rows} == {2}
    assert "**91.0**<br>[" in rows[3] and "–<sup>a</sup>" in rows[4]


def test_latex_is_a_table_of_booktabs_and_siunitx(table: Table) -> None:
    text = as_latex(table)
    for command in (
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
        r"\caption{",
        r"\label{tab:options}",
        "S[table-format=2.1",
    ):
        assert command in text
    assert text.isascii() and text.count("{") == text.count("}") and r"\textbf{91.0}" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in rows} == {2}
    assert "{--\\textsuperscript{a}}" in text


def test_groups_of_rows_and_columns(runs: Path, make_run: MakeRun) -> None:
    for dataset in ("faces", "toybox-category"):
        for regime in ("clear", "blurry"):
            measured(runs, make_run, {"sharp": images(30), "disk-4": images(9)}, regime, dataset=dataset)
    table = analysis.table({"rows": "dataset,regime", "columns": "blur", "metric": ["top1", "entropy"]}, runs)
    latex = as_latex(table)
    assert r"\multicolumn{5}{@{}l}{\itshape faces}" in latex and r"\quad clear & 60.0" in latex
    assert r"\multicolumn{2}{c}{sharp} & \multicolumn{2}{c}{disk-4}" in latex and r"\cmidrule(lr){4-5}" in latex
    html = as_html(table)
    assert html.count("<tbody>") == 2 and 'colspan="2">disk-4</th>' in html
    assert "| **faces** |" in as_markdown(table) and "\nfaces\n  clear" in as_text(table)


def test_csv_and_parquet_hold_all_cells(table: Table, tmp_path: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv([table]))))
    assert len(lines) == 6
    blurry = next(line for line in lines if (line["row"], line["column"]) == ("blurry", "sharp"))
    assert (blurry["estimate"], blurry["n"], blurry["seeds"], blurry["mark"]) == ("91.0000", "50", "0 1", "best")
    assert (blurry["difference"], blurry["unit"], blurry["dataset"]) == ("30.0000", "%", "faces")
    assert len(blurry["runs"].split()) == len(blurry["baseline_runs"].split()) == 2
    (tmp_path / "t.parquet").write_bytes(as_parquet([table]))
    frame = pd.read_parquet(tmp_path / "t.parquet")
    assert list(frame.columns) == list(lines[0])
    row = frame[(frame["row"] == "blurry") & (frame["column"] == "sharp")].iloc[0]
    assert row["estimate"] == pytest.approx(91) and row["seeds"].tolist() == [0, 1] and row["p"] < 0.05
    assert frame["missing"].tolist().count("not measured at this blur") == 1


def test_json_is_one_document(table: Table) -> None:
    document = json.loads(json.dumps(as_json(table), allow_nan=False))
    assert [row["label"] for row in document["rows"]] == ["clear", "blurry", "d8"]
    assert len(document["cells"]) == 6 and document["cells"][0]["runs"] and document["notes"]


# --- names ----------------------------------------------------------------------------------------------------------


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_no_name_is_html(nasty: Table) -> None:
    page = _Page()
    page.feed(as_html(nasty))
    assert "script" not in page.tags and page.tags <= {
        "figure", "figcaption", "table", "caption", "thead", "tbody", "tr", "th", "td", "small", "strong", "u", "em",
    }  # fmt: skip
    assert "<script>alert(1)</script> & 50%" in page.text


def test_no_name_is_latex(nasty: Table) -> None:
    text = as_latex(nasty)
    assert text.isascii() and r"\textbackslash{}input\{a\}" in text and r"50\%" in text and r"\textless{}script" in text
    assert r"\'{e}" in text and r"\texttt{U+4E2D}" in text
    assert "\n[" not in text, "an argument of the line before"
    assert "\x1b" not in text


def test_no_name_breaks_a_line_of_text_or_markdown(nasty: Table) -> None:
    for text in (as_text(nasty), as_markdown(nasty)):
        assert "\x1b" not in text and "new line" in text and "\nnew line" not in text
    rows = [line for line in as_markdown(nasty).splitlines() if line.startswith("|")]
    assert len(rows) == 5 and {line.replace(r"\|", "").count("|") for line in rows} == {4}
    assert r"\<script\>" in rows[0] and r"\[d\](e)" in rows[0] and r"\*b\*" in rows[0]


def test_csv_gives_every_name_back(nasty: Table) -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv([nasty]))))
    assert lines[0]["row"] == NASTY + "\nnew line\x1b[31m" and len(lines) == 6


def test_the_split_that_was_measured_is_said(runs: Path, make_run: MakeRun) -> None:
    for regime in ("clear", "blurry"):
        measured(runs, make_run, {"sharp": images(30)}, regime, split="val")
    said = as_text(analysis.table({"rows": "regime", "columns": "blur"}, runs))
    assert "\nVal images: n = 50; seeds: 1." in said and "with other images, of one seed" in said


# --- differences ----------------------------------------------------------------------------------------------------


def test_a_difference_of_fewer_seeds_says_of_how_many_and_over_what(runs: Path, make_run: MakeRun) -> None:
    for regime, seeds in (("clear", (0, 1, 2)), ("blurry", (0, 1, 2)), ("d8", (2, 3))):
        for seed in seeds:
            measured(runs, make_run, {"sharp": images(30 + seed)}, regime, seed, records=True)
    table = analysis.table({"rows": "regime", "columns": "blur", "baseline": "regime=clear"}, runs)
    said = as_text(table)
    assert "over the seeds that both have" in said and "Seeds of differences: 3 (blurry), 1 (d8)." in said
    where = "where they may lie with other seeds and other test images; or other test images, of one seed."
    assert f"Intervals of differences: {where}" in said
    d8 = next(line for line in csv.DictReader(io.StringIO(as_csv([table]))) if line["row"] == "d8")
    assert (d8["seeds"], d8["difference_seeds"], d8["difference_wide"]) == ("2 3", "2", "False")
    assert (d8["over"], d8["difference_over"]) == ("seeds and images", "images")


def test_a_difference_without_records_is_said_to_be_too_wide(runs: Path, make_run: MakeRun, tmp_path: Path) -> None:
    for regime in ("clear", "blurry"):
        measured(runs, make_run, {"sharp": images(30)}, regime)
    table = analysis.table({"rows": "regime", "columns": "blur", "baseline": "regime=clear"}, runs)
    assert "Intervals of differences: mostly too wide, without records of each image." in as_text(table)
    (tmp_path / "t.parquet").write_bytes(as_parquet([table]))
    assert pd.read_parquet(tmp_path / "t.parquet")["difference_wide"].tolist() == [None, True]


def test_beside_ratios_differences_keep_their_unit_and_runs_are_those_of_the_seeds(
    runs: Path, make_run: MakeRun
) -> None:
    for regime, right, seeds in (("clear", 20, (0, 1)), ("blurry", 30, (1, 2))):
        for seed in seeds:
            measured(runs, make_run, {"sharp": images(right)}, regime, seed, records=True)
    for show, value, unit in (("ratio", 1.5, ""), ("difference", 20.0, "%"), ("value", 60.0, "%")):
        table = analysis.table({"rows": "regime", "columns": "blur", "baseline": "regime=clear", "show": show}, runs)
        line = next(line for line in tidy([table]) if line["row"] == "blurry")
        assert (line["estimate"], line["difference"], line["unit"]) == (pytest.approx(value), pytest.approx(20.0), unit)
        assert line["seeds"] == ([1, 2] if show == "value" else [1]) and line["difference_seeds"] == [1]
        assert len(line["runs"]) == len(line["seeds"]) and len(line["baseline_runs"]) == 1
