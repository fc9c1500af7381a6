"""The tables of `analysis.load`, and what is chosen from them."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from accuracy_file import evaluation

import analysis
from analysis.collecting.collection import collect
from blurtrain.errors import RunError

MakeRun = Callable[..., str]
RATE = "optimisation.learning_rate"


@pytest.fixture
def three(runs: Path, make_run: MakeRun) -> list[str]:
    """Two runs that are done, and one that is not."""
    ids = [make_run(runs, "faces", regime, seed=k, counts={0.0: 10 + k, 8.0: 5}, done=k < 2,
                    settings={"optimisation": {"learning_rate": rate}, "network": network})
           for k, (regime, rate, network) in enumerate([
               ("clear", 1e-3, {}), ("blurry", 1e-4, {}),
               ("clear", 1e-3, {"architecture": "timm/resnet10t", "arguments": {"pad_type": "same"}})])]  # fmt: skip
    (runs / ids[0] / "attempts" / "0001" / "journal.jsonl").write_text(
        '{"event": "epoch", "epoch": 1, "at": 3, "loss": 0.5}\n'
    )
    return ids


def test_the_frame_of_levels_is_what_load_gives_by_itself(runs: Path, three: list[str]) -> None:
    pd.testing.assert_frame_equal(analysis.load(runs, table="levels"), analysis.load(runs))


def test_runs_are_all_there_with_all_their_settings(runs: Path, three: list[str]) -> None:
    frame = analysis.load(runs, "runs")
    assert sorted(frame["run_id"]) == sorted(three) and set(frame["state"]) == {"done", "waiting"}
    assert frame.groupby(RATE)["run_id"].count().to_dict() == {1e-4: 1, 1e-3: 2}
    by_id = frame.set_index("run_id")
    assert by_id["network.arguments"].to_dict() == {three[0]: "{}", three[1]: "{}", three[2]: '{"pad_type": "same"}'}
    assert by_id["network.arguments.pad_type"].isna().tolist().count(True) == 2
    assert (
        by_id["early_stopping"].isna().all()
        and (by_id["evaluation.sigmas"] == "[0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]").all()
    )


def test_epochs_say_whose_they_are(runs: Path, three: list[str]) -> None:
    (row,) = analysis.load(runs, "epochs").to_dict("records")
    assert (row["run_id"], row["regime"], row["seed"], row["epoch"], row["loss"]) == (three[0], "clear", 0, 1, 0.5)
    assert row["settings_id"] == analysis.load(runs, run_id=three[0])["settings_id"][0]


@pytest.mark.parametrize(
    ("table", "where", "seeds"),
    [
        ("levels", {"seed": 1}, [1, 1]),
        ("levels", {"regime": ["clear", "blurry"], "sigma": 8.0}, [0, 1]),
        ("levels", {RATE: 1e-4}, [1, 1]),
        ("levels", {"network.pretrained": None, "blur": "sharp"}, [0, 1]),
        ("levels", {"top1_count": 11}, [1]),
        ("runs", {"state": "waiting"}, [2]),
        ("runs", {RATE: [1e-3, 7.0]}, [0, 2]),
        ("runs", {"network.arguments.pad_type": "same"}, [2]),
        ("runs", {"network.arguments.pad_type": [None, "same"]}, [0, 1, 2]),
        ("runs", {"seed": "no number"}, []),
        ("epochs", {"split": "train", "regime": "clear"}, [0]),
        ("epochs", {"split": "val"}, []),
        ("measures", {"metric": "top1", "seed": [0, 1], "sigma": 0.0}, [0, 1]),
        ("measures", {RATE: 1e-4, "metric": "top5"}, [1, 1]),
        ("measures", {"epoch": 60, "metric": "top1", "blur": "gaussian-8"}, [0, 1]),
        ("measures", {"measure": "margin"}, []),
    ],
)
def test_rows_are_chosen_by_any_column(
    runs: Path, three: list[str], table: str, where: dict[str, object], seeds: list[int]
) -> None:
    assert sorted(analysis.load(runs, table, **where)["seed"].tolist()) == seeds  # type: ignore[arg-type]


@pytest.mark.parametrize("table", ["levels", "runs", "epochs", "measures", "images"])
def test_an_unknown_column_is_one_line_with_the_nearest_name(runs: Path, three: list[str], table: str) -> None:
    with pytest.raises(
        RunError, match=rf"table of {table} has no column 'optimisation.learning_rat'; .*'{RATE}'"
    ) as caught:
        analysis.load(runs, table, **{"optimisation.learning_rat": 1})  # type: ignore[arg-type]
    assert len(str(caught.value)) < 200


def test_an_unknown_table_is_named(runs: Path) -> None:
    with pytest.raises(RunError, match="no table 'epoch'; did you mean 'epochs'"):
        analysis.load(runs, "epoch")  # type: ignore[arg-type]


def test_only_the_columns_asked_for_come_in_their_order(runs: Path, three: list[str]) -> None:
    frame = collect(runs).measures(["value", RATE, "run_id", "resolution"], metric="top1", sigma=0.0)
    assert frame.columns.tolist() == ["value", RATE, "run_id", "resolution"]
    assert frame.sort_values(RATE)[["value", RATE]].to_numpy().tolist() == [[11 / 86, 1e-4], [10 / 86, 1e-3]]


def test_counts_of_objects_come_along(runs: Path, make_run: MakeRun) -> None:
    make_run(runs, counts={0.0: 70}, objects=[[43, 43], [40, 30]])
    make_run(runs, seed=1, counts={0.0: 70})
    frame = collect(runs).measures(["seed", "metric", "by_object", "objects", "object_n"]).set_index(["seed", "metric"])
    assert frame.loc[(0, "top1")].tolist() == [(40, 30), 2, (43, 43)]
    assert frame.loc[(0, "top5")].tolist() == [None, 2, (43, 43)]
    assert frame.loc[(1, "top1")].tolist() == [None, 0, None]


# --- images ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(runs: Path, three: list[str]) -> Path:
    """The first run with records of four images at two levels, on disk by their index from the last to the first."""
    document = json.loads(evaluation({0.0: 3}, n=4, classes=3, largest_class=2, reference_resolution=112))
    levels = {"sharp": (0.0, [1, 1, 1, 0]), "gaussian-4@112": (4.0, [0, 1, 0, 0])}
    del document["levels"]
    document["rows"] = [{"metric": metric, "blur": blur, "sigma": sigma, "n": 4, "count": sum(right)}
                        for blur, (sigma, right) in levels.items() for metric in ("top1", "top5")]  # fmt: skip
    path = runs / three[0] / "evaluations" / "accuracy-images.json"
    path.write_text(json.dumps(document))
    parts = [pd.DataFrame({"blur": blur, "index": np.arange(4)[::-1], "label": 1, "top1": np.array(right, bool)[::-1]})
             for blur, (_, right) in reversed(levels.items())]  # fmt: skip
    pd.concat(parts).to_parquet(path.with_suffix(".parquet"))
    return path


def test_images_come_from_the_records_of_the_runs(runs: Path, three: list[str], recorded: Path) -> None:
    frame = analysis.load(runs, "images")
    assert frame["blur"].tolist() == ["sharp"] * 4 + ["gaussian-8"] * 4, "levels as all tables call them"
    assert frame["index"].tolist() == [0, 1, 2, 3] * 2
    assert frame["top1"].tolist() == [True, True, True, False, False, True, False, False]
    assert set(frame["run_id"]) == {three[0]} and (frame["n"] == 4).all() and (frame["label"] == 1).all()
    assert len(analysis.load(runs, "images", blur="gaussian-8", top1=True)) == 1
    assert (
        len(analysis.load(runs, "images", regime="blurry")) == 0 == len(analysis.load(runs, "images", measure="margin"))
    )
    chosen = collect(runs).images(three, blurs=["sharp"], columns=["index", "top1"])
    assert chosen.columns.tolist() == ["index", "top1"] and chosen["top1"].sum() == 3


def test_damaged_records_are_named(runs: Path, recorded: Path) -> None:
    recorded.with_suffix(".parquet").write_bytes(b"PAR1")
    with pytest.warns(UserWarning, match=re.escape(f"{recorded.with_suffix('.parquet')}: cannot be read")):
        assert analysis.load(runs, "images").empty


def test_records_of_more_things_than_there_are_images_are_read(runs: Path, three: list[str], recorded: Path) -> None:
    document = json.loads(recorded.read_text()) | {"measure": "margin"}
    document["rows"] = [{"metric": "shape", "blur": "gaussian-4@112", "sigma": 4.0, "n": 9, "count": 8}]
    path = recorded.with_name("margin-images.json")
    path.write_text(json.dumps(document))
    pd.DataFrame({"blur": "gaussian-4@112", "index": np.arange(9), "shape": True}).to_parquet(
        path.with_suffix(".parquet")
    )
    frame = analysis.load(runs, "images", measure="margin")
    assert frame["index"].tolist() == [*range(9)] and set(frame["blur"]) == {"gaussian-8"}
