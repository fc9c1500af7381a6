import json

import pytest

from blurtrain.bench.reduced import SIGMAS, table
from blurtrain.cli import main


@pytest.mark.slow
@pytest.mark.long
def test_more_blur_takes_fewer_pixels_that_differ_less(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--resolution", "96", "--batch", "4", "--steps", "1", "--repeats", "1", "--device", "cpu", "--json"]
    with pytest.raises(SystemExit) as ended:
        main(["bench", "reduced", "--architecture", "timm/mobilenetv3_small_050", "--arithmetic", "float32", *options])
    assert ended.value.code == 0
    rows = json.loads(capsys.readouterr().out)
    # Sigma 8 of 224 is 1.14 of 32 px; sigma 4 would ask for 56 of 64; from sigma 2 on all pixels count.
    assert {row["sigma"]: row["side"] for row in rows} == dict(zip(SIGMAS, (32, 32, 64, 96, 96), strict=True))
    errors = {row["sigma"]: row["rms_255"] for row in rows}
    assert errors[1] == errors[2] == 0 < errors[16] < errors[8]
    assert all(row["images_per_second"] > 0 and row["of_whole"] > 0 for row in rows)
    assert len(table(rows).splitlines()) == 2 + len(rows)
