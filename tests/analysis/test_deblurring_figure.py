"""Deblurring as a figure: accuracy by method beside PSNR."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.collecting.collection import collect
from analysis.figures.deblurring import deblurring_figure, restored

MakeRun = Callable[..., str]
BLUR = "disk-8@384"


def add(run: Path, method: str | None, top1: int, psnr: float) -> None:
    """What evaluation would write of one method."""
    documents = [json.loads(path.read_text()) for path in sorted((run / "evaluations").glob("accuracy-*.json"))]
    document: dict[str, Any] = next(found for found in documents if "deblur" not in found)
    document.pop("levels", None)
    about = {"blur": BLUR, "sigma": None, "n": document["n"]}
    named = {"deblur": method} if method else {}
    right = [{"metric": name, **about, "count": top1} for name in ("top1", "top5")]
    for measure, rows in (("accuracy", right), ("deblurring", [{"metric": "psnr", **about, "value": psnr}])):
        file = run / "evaluations" / f"{measure}-{'4567abcd' if method else '89abcdef'}.json"
        file.write_text(json.dumps({**document, **named, "measure": measure, "rows": rows}))


def test_a_row_a_method_with_accuracy_and_psnr(runs: Path, make_run: MakeRun) -> None:
    for seed, counts in ((0, (10, 30)), (1, (20, 40))):
        run = runs / make_run(runs, "pets", "clear", seed)
        for method, count, psnr in zip((None, "wiener"), counts, (20.0, 30.0), strict=True):
            add(run, method, count, psnr)
    make_run(runs, "pets", "blurry", 0)
    ids = [path.name for path in runs.glob("pets-*")]
    (one,) = restored(collect(runs), ids)
    assert (one.dataset, one.blurs, one.methods) == ("pets", [BLUR], ["none", "wiener"])
    share = 100 / one.n
    assert one.accuracy[BLUR, "none", "clear"] == pytest.approx([10 * share, 20 * share])
    assert one.accuracy[BLUR, "wiener", "clear"] == pytest.approx([30 * share, 40 * share])
    assert one.psnr == {(BLUR, "none"): 20, (BLUR, "wiener"): 30}
    accuracy, quality = deblurring_figure(one).axes[:2]
    means, psnrs = ([np.ravel(line.get_xdata()) for line in axes.lines] for axes in (accuracy, quality))
    means = [values for values in means if len(values) == 1]
    assert np.ravel(means) == pytest.approx([15 * share, 35 * share])
    assert np.ravel(psnrs).tolist() == [20, 30]
    assert [text.get_text() for text in accuracy.get_yticklabels()] == ["blurred", "wiener"]


def test_runs_without_deblurring_have_no_figure(runs: Path, make_run: MakeRun) -> None:
    assert not restored(collect(runs), [make_run(runs, "pets", "clear", 0)])
