"""`blurtrain bench blur` through the command line, tiny."""

import json

import pytest

from blurtrain.bench.blur import table
from blurtrain.cli import main

KINDS = {
    "gaussian",
    "gaussian 8-bit in and out",
    "crop, resize, flip, blur",
    "crop, resize, flip, 8-bit",
    "disk, a kernel an image",
    "camera shake, a kernel an image",
    "RandomBlur",
    "RandomBlur, one image",
}


@pytest.mark.slow
def test_ours_stands_beside_its_peers_and_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "blur", "--quick", "--device", "cpu", "--batch", "2", "--repeats", "1", "--json"])
    assert ended.value.code == 0
    printed = capsys.readouterr()
    rows = json.loads(printed.out)
    assert {row["what"] for row in rows} == KINDS and len(printed.err.splitlines()) == len(rows)
    for row in rows:
        assert row["ours_ms"] > 0 and (row["batch"], row["size"]) == (1 if "one image" in row["what"] else 2, 64)
        # Against SciPy in float64, in gray levels of 255: of integers half a level, or what bfloat16 makes of it.
        largest = 2 if "bfloat16" in row["dtype"] else 0.501 if row["dtype"] == "uint8" else 2e-3
        assert row["max_abs_error_255"] < largest, row
        if row["what"] == "gaussian" and row["sigma"] <= 8:
            assert row["torchvision_ms"] > 0
    assert len(table(rows).splitlines()) > len(rows)
