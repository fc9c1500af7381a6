"""Published numbers."""

import pytest

import analysis
from analysis.literature import DATASETS, REGIMES
from blurtrain.errors import BlurtrainError


def test_curves_of_the_study_are_whole() -> None:
    table = analysis.published("b2c_accuracy_vs_sigma")
    assert list(table.columns) == ["dataset", "classes", "regime", "sigma_px_at_224", "top1_percent"]
    assert len(table) == 5 * 3 * 33
    assert set(table["dataset"]) == set(DATASETS) and set(table["regime"]) == set(REGIMES)
    faces = table[(table["dataset"] == "faces") & (table["sigma_px_at_224"] == 8)].set_index("regime")["top1_percent"]
    assert faces.to_dict() == {"clear": 7.6, "blurry": 77.95, "blurry-to-clear": 38.0}


def test_evaluated_images_explain_every_published_percentage() -> None:
    curves, sets = analysis.published("b2c_accuracy_vs_sigma"), analysis.published("b2c_datasets")
    assert tuple(sets["dataset"]) == DATASETS
    for row in sets.itertuples():
        percent = curves.loc[curves["dataset"] == row.dataset, "top1_percent"]
        n = row.evaluated_images
        assert ((percent - 100 * (percent * n / 100).round() / n).abs() < 0.00501).all(), row.dataset


def test_every_table_loads_and_an_unknown_one_is_a_clear_error() -> None:
    assert len(analysis.published_names()) == 10
    for name in analysis.published_names():
        assert not analysis.published(name).empty
    assert analysis.published("vasiljevic_table1").iloc[0, 2] == 90.88
    for name in ("vasiljevic_table7", "../published/vasiljevic_table1"):
        with pytest.raises(BlurtrainError, match="is unknown; did you mean"):
            analysis.published(name)
