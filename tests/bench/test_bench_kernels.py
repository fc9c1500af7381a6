import json

import pytest

from blurtrain.bench.kernels import table
from blurtrain.cli import main


@pytest.mark.slow
@pytest.mark.long
def test_ours_and_opencvs_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cv2")
    with pytest.raises(SystemExit) as ended:
        main(["bench", "kernels", "--quick", "--json", "--resolution", "96", "--batch", "4", "--repeats", "1"])
    assert ended.value.code == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["blur"] for row in rows] == ["disk-8", "shake"]
    assert all(row[name] > 0 for row in rows for name in ("path_ms", "opencv_float32_ms", "opencv_8bit_ms"))
    assert {"adds_ms", "opencv_adds_ms", "of_opencv", "step_ms", "share"} <= set(rows[0])
    assert len(table(rows).splitlines()) == 4 + (rows[0]["step_ms"] is not None)


def test_nothing_to_measure_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "kernels", "--batch", "0"])
    assert ended.value.code == 2 and "at least 1" in capsys.readouterr().err
