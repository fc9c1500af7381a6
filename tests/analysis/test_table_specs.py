"""Specs of tables: mistakes in them, and those that come with the project."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import analysis
from analysis.tabulation.specs import read_table_spec, table_specs
from blurtrain.errors import SettingsError
from blurtrain.settings import PRESETS
from jobs.grid import read_grid

PUBLISHED = {"table": "vasiljevic_table3", "network": "VGG-16", "source": "a paper"}
SPEC = {
    "title": "Top-5",
    "rows": [{"label": "sharp", "match": {"blur": "sharp"}, "published": {"test_blur": "sharp"}}],
    "columns": [{"label": "original", "match": {"regime": "original"}, "published": "original"}],
    "published": PUBLISHED,
}


def written(tmp_path: Path, changes: dict[str, Any]) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(SPEC | changes))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vlaue": "top1"}, ": vlaue: unknown setting; did you mean 'value'?"),
        ({"rows": {"by": "regim"}}, "nothing is called 'regim'; did you mean 'regime'?"),
        ({"rows": {"bye": "regime"}}, ": rows.bye: unknown setting; did you mean 'by'?"),
        ({"rows": [{"labl": "a"}]}, "rows.0.labl: unknown setting; did you mean 'label'?"),
        ({"show": "ratio"}, "show: ratio needs a baseline"),
        ({"where": {"protocl": "x"}}, "nothing is called 'protocl'; did you mean 'protocol'?"),
        ({"rows": [{"label": "a", "match": {"blur": "disc-8"}}]}, "'disc-8' is unknown; did you mean 'disk'?"),
        ({"rows": [{"label": "a"}, {"label": "a"}]}, "'a' stands there twice"),
        ({"rows": [{"label": "a", "published": {"test_blr": "x"}}]}, "no column 'test_blr'; did you mean 'test_blur'?"),
        ({"rows": [{"label": "a", "published": {"test_blur": "x"}}]}, "0 rows are {'test_blur': 'x'}"),
        ({"rows": [{"label": "a", "published": "x"}]}, "row 'a': published must say which row is meant"),
        (
            {"columns": [{"label": "a", "ensemble": [{"regim": "x"}]}]},
            "nothing is called 'regim'; did you mean 'regime'?",
        ),
        ({"columns": [{"label": "a", "ensemble": [{"blur": "sharp"}]}]}, "'blur' is the same for all members"),
        ({"published": PUBLISHED | {"table": "x"}}, "published table 'x' is unknown"),
    ],
)
def test_a_mistake_in_a_spec_is_reported_in_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_table_spec(written(tmp_path, changes))
    assert str(caught.value).startswith(str(tmp_path / "mine.yaml")) and "\n" not in str(caught.value)
    assert message in str(caught.value)


OF = {"vasiljevic-1": "table1", "vasiljevic-2": "table2", "vasiljevic-3": "table3", "vasiljevic-4": "table4",
      "vasiljevic-5": "table5", "vasiljevic-a": "tableA_resnet"}  # fmt: skip


GRIDS = {"vasiljevic-5": "deblurring", "deblurring-small": "deblurring-small", "baselines-small": "baselines-small",
         "baselines-small-top5": "baselines-small", "vasiljevic-6": "segmentation",
         "segmentation-small": "segmentation-small", "methods": "methods",
         "methods-small": "methods-small"}  # fmt: skip
"""The grid whose runs a table is of, where that is not `baselines`."""


@pytest.mark.parametrize("name", OF)
def test_a_spec_shows_every_published_number_of_its_table_once(name: str) -> None:
    spec = read_table_spec(PRESETS / "tables" / f"{name}.yaml")
    shown = [spec.published_value(row, column) for row in spec.rows for column in spec.columns]
    table = analysis.published(f"vasiljevic_{OF[name]}")
    keys = {"vasiljevic-4": ["scale", "network"], "vasiljevic-5": ["condition"]}.get(name, ["test_blur"])
    assert sorted(x for x in shown if x is not None) == sorted(table.drop(columns=keys).to_numpy().ravel().tolist())
    assert None not in shown or name == "vasiljevic-5", "the study deblurred by one method"


@pytest.mark.parametrize("spec", [s for s in table_specs() if s.explicit], ids=lambda spec: spec.name)
def test_specs_name_what_the_grids_of_the_baselines_have(spec: Any) -> None:
    (grid,) = read_grid(PRESETS / "grids" / f"{GRIDS.get(spec.name, 'baselines')}.yaml").grids
    cells = [(row, column) for row in spec.rows for column in spec.columns if not row.none]
    matches = [{**spec.match(row, column), **member} for row, column in cells for member in row.ensemble or [{}]]
    for match in matches:
        assert match.get("blur") in grid.settings["evaluation"]["blurs"]
        assert match["regime"] in grid.axes["regime"]
        assert match.get("model") in grid.axes.get("model", [None, grid.settings.get("model")])
        axis = "augmentation.scaled.network_scales"
        assert axis not in match or match[axis] in grid.axes[axis]
    several = [[spec.match(row, column), row.ensemble, spec.value_of(row, column)] for row, column in cells]
    assert len({json.dumps(match) for match in several}) == len(cells)
