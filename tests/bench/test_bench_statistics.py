"""The bench of statistics measures what it says, small."""

import json
import math

import pytest

from analysis.bench.statistics import bench_statistics, table
from blurtrain.cli import main


def test_every_shape_is_measured_and_agrees_with_the_closed_form() -> None:
    rows = list(bench_statistics(4000, 200))
    assert len(rows) == 2 * 2 * 2 * 3 and {row["rows"] for row in rows} == {4000}
    assert {(row["what"], row["values"], row["units"]) for row in rows} == {
        (what, values, units)
        for what in ("paired", "bootstrap", "bootstrap, ratio")
        for values in ("right or wrong", "all different")
        for units in ("images", "36 objects")
    }
    for closed, drawn in zip(rows[::3], rows[1::3], strict=True):
        assert closed["value"] == pytest.approx(drawn["value"]) and closed["seconds"] > 0
        assert drawn["high"] - drawn["low"] == pytest.approx(closed["high"] - closed["low"], rel=0.4)
        assert not math.isnan(drawn["low"])
    assert len(table(rows).splitlines()) == 25


def test_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "statistics", "--rows", "2000", "--resamples", "100", "--json"])
    assert not ended.value.code
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)) == 24 and "2000 rows:" in printed.err
    with pytest.raises(SystemExit) as ended:
        main(["bench", "statistics", "--resamples", "10"])
    assert ended.value.code
    assert "--resamples must be at least 100, not 10" in capsys.readouterr().err
