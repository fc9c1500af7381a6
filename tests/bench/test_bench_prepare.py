import json
from pathlib import Path

import pytest

from blurtrain.bench.prepare import table
from blurtrain.cli import main


@pytest.mark.slow
def test_both_ways_are_measured_in_both_encodings(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "prepare", "--images", str(tree), "--resolution", "16", "--repeats", "1", "--json"])
    assert ended.value.code == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["what"], row["encoding"], row["images"]) for row in rows] == [
        ("opencv", "raw", 42), ("prepare", "raw", 42), ("opencv", "jpg", 42), ("prepare", "jpg", 42),
    ]  # fmt: skip
    assert all(row["images_per_second"] > 0 and row["of_opencv"] > 0 for row in rows)
    assert rows[1]["bytes_per_image"] > 3 * 18 * 18, "of both stores"
    assert len(table(rows).splitlines()) == 5
