import json

import pytest

from blurtrain.bench.loader import KINDS, table
from blurtrain.cli import main

COLUMNS = ["what", "loader", "dtype", "colour", "erasing", "sigma", "taps", "images_per_second", "of_original"]


@pytest.mark.slow
@pytest.mark.long
def test_all_rows_are_there_and_compared_with_the_originals_way(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "loader", "--quick", "--json", "--device", "cpu"])
    assert ended.value.code == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(list(row) == COLUMNS and row["images_per_second"] > 0 for row in rows)
    original = [row for row in rows if row["what"] == "original"]
    assert [row["of_original"] for row in original if row["taps"] in (None, 11)] == [1.0] * 4
    ours = [(row["loader"], row["dtype"], row["colour"], row["sigma"]) for row in rows if row["what"] == "ours"]
    compared = {(row["colour"], row["erasing"]) for row in rows if row["what"] in ("original", "ours")}
    assert compared == {(0, 0), (0.2, 0.5)}
    assert len(set(ours)) == len(ours) == 8 * len({row[0] for row in ours})
    assert {row[0] for row in ours} <= set(KINDS)
    assert all(row["of_original"] for row in rows if row["what"] == "ours")
    stages = {row["what"] for row in rows if row["what"].endswith("alone")}
    assert stages == {
        "reading alone",
        "crop, blur, normalisation alone",
        "colour alone",
        "erasing alone",
        "normalisation alone",
        "original's blur alone",
    }
    assert len(table(rows).splitlines()) == len(rows) + 1


def test_nothing_to_measure_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "loader", "--count", "0"])
    assert ended.value.code == 2 and "at least 1" in capsys.readouterr().err
