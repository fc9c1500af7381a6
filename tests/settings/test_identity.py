"""Equal runs have equal ids, and whatever changes the weights changes them."""

from pathlib import Path
from typing import Any

import pytest

from blurtrain.blur.curricula import Curriculum
from blurtrain.documents import merge
from blurtrain.schema import Section, added_later
from blurtrain.settings import compose, dump, load, load_resolved, run_id
from blurtrain.settings.identity import identity_of
from blurtrain.tasks import Loss

MINIMAL = {"dataset": "faces", "regime": "clear"}
DATA_ID = "0123456789abcdef"
WEIGHTS = {"file": "w.pt", "sha256": "a" * 64}
START = {"run": "a-run", "epoch": 2, "sha256": "a" * 64}


def identity(**changes: Any) -> str:
    return run_id(compose(merge(MINIMAL, changes), "test"), DATA_ID)


@pytest.mark.parametrize(
    ("document", "known"),
    [
        ({}, "faces-clear-alexnet-sup-s0-8bdd685988f4"),
        (
            {
                "dataset": "toybox-category",
                "regime": "blurry-to-clear",
                "seed": 3,
                "optimisation": {"optimiser": "sgd", "learning_rate": 0.05, "epochs": 90, "batch_size": 128},
            },
            "toybox-category-blurry-to-clear-alexnet-sup-s3-6a75dcbef251",
        ),
        (
            {
                "dataset": "imagenet-12",
                "regime": "blurry",
                "model": "resnet-18",
                "data": {"resolution": 64, "mean": [0.5, 0.5, 0.5], "sd": [0.25, 0.25, 0.25]},
                "augmentation": {"interpolation": "bilinear", "flip": 0, "crop_scale": [0.08, 1]},
                "blur": {"truncate": 2},
            },
            "imagenet-12-blurry-resnet-18-s0-fd8c378c39e5",
        ),
    ],
)
def test_pinned_ids(document: dict[str, Any], known: str) -> None:
    """These must never change: a run that was trained is found by its id.

    A setting that is added takes a neutral default that is left out of the hash; a change of meaning raises SCHEMA.
    """
    assert identity(**document) == known


def test_the_id_begins_with_names_to_read_and_ends_in_a_hash() -> None:
    *names, digest = identity(seed=7).rsplit("-", 1)
    assert names == ["faces-clear-alexnet-sup-s7"]
    assert len(digest) == 12
    assert set(digest) <= set("0123456789abcdef")


CHANGES: list[dict[str, Any]] = [
    {"dataset": "other"},
    {"regime": "blurry", "curriculum": {"schedule": "constant", "sigma": 0}},
    {"model": "own", "network": {"architecture": "alexnet-sup"}},
    {"seed": 1},
    {"data": {"resolution": 223}},
    {"data": {"mean": [0.5, 0.5, 0.5]}},
    {"data": {"sd": [0.5, 0.5, 0.5]}},
    {"network": {"architecture": "resnet-18"}},
    {"network": {"architecture": "timm/convnext_tiny"}},
    {"network": {"bias": "uniform"}},
    {"network": {"dropout": 0.3}},
    {"network": {"antialias": {}}},
    {"network": {"frontend": {"width": 8, "depth": 2, "task": 0, "image": 1, "learnt": True, **WEIGHTS}}},
    {"network": {"antialias": {"filter": 5}}},
    {"network": {"antialias": {"learnt": True}}},
    {"loss": {"type": "weighted-cross-entropy", "weights": [1, 2]}},
    {"network": {"architecture": "blur-type"}, "augmentation": {"crop_scale": [1, 1], "crop_ratio": [1, 1]}},
    {"network": {"pretrained": {"file": "w.pt", "sha256": "a" * 64}}},
    {"network": {"pretrained": {"file": "w.pt", "sha256": "b" * 64}}},
    {"network": {"pretrained": {"file": "w.pt", "sha256": "b" * 64, "last_layer": "zero"}}},
    {"network": {"pretrained": {"file": "w.pt", "sha256": "b" * 64, "head": "kept"}}},
    {"network": {"architecture": "resnet-18", "pretrained": {"published": "torchvision/resnet18"}}},
    {"network": {"pretrained": {"file": "w.pt", "sha256": "b" * 64, "head": "kept", "classes": ["a", "b"]}}},
    {"network": {"architecture": "resnet-18", "arguments": {"zero_init_residual": True}}},
    {"network": {"architecture": "resnet-18", "arguments": {"zero_init_residual": False}}},
    {"network": {"architecture": "resnet-18", "arguments": {"zero_init_residual": 1}}},
    {"network": {"architecture": "resnet-18", "arguments": {"replace_stride_with_dilation": [False, True, True]}}},
    {"loss": {"type": "jensen-shannon"}},
    {"loss": {"type": "jensen-shannon", "weight": 6}},
    {"loss": {"type": "jensen-shannon", "blurred_views": 2}},
    {"loss": {"type": "jensen-shannon", "cross_entropy": "all"}},
    {"loss": {"type": "feature-distance"}},
    {"loss": {"type": "feature-distance", "layer": "features.0"}},
    {"loss": {"type": "supervised-contrastive"}},
    {"loss": {"type": "supervised-contrastive", "temperature": 0.2}},
    {"loss": {"type": "supervised-contrastive", "among": 32}},
    {"loss": {"type": "adversarial-blur"}},
    {"loss": {"type": "adversarial-blur", "size": 9}},
    {"loss": {"type": "adversarial-blur", "steps": 5}},
    {"loss": {"type": "adversarial-blur", "rate": 0.5}},
    {"loss": {"type": "adversarial-blur", "start": "identity"}},
    {"loss": {"type": "adversarial-blur", "distance": 0.2}},
    {"loss": {"type": "adversarial-blur", "among": 8}},
    {"loss": {"type": "adversarial-blur", "share": 1}},
    {"loss": {"type": "adversarial-blur", "harm": "features", "layer": "features.0"}},
    {"loss": {"type": "proposed-blur", "width": 8, "rate": 2, "fidelity": 0}},
    {"loss": {"type": "proposed-blur", "width": 8, "rate": 2, "fidelity": 0, "harm": "features"}},
    {"task": {"type": "segmentation"}},
    {"early_stopping": {"patience": 2}},
    {"early_stopping": {"patience": 2, "every_epochs": 2}},
    {"early_stopping": {"patience": 2, "metric": "top1"}},
    {"early_stopping": {"patience": 2, "blurs": ["sharp", "disk-4"]}},
    {"curriculum": {"sigma": 1}},
    {"curriculum": {"schedule": "constant", "blur": "disk-4"}},
    {"curriculum": {"schedule": "stepwise"}},
    {"curriculum": {"schedule": "stepwise", "sigmas": [8, 4, 2, 1]}},
    {"curriculum": {"schedule": "stepwise", "blurs": ["disk-4", "sharp"]}},
    {"curriculum": {"schedule": "mix", "blurs": ["disk-4", "box-8"], "probabilities": [0.5, 0.5]}},
    {"curriculum": {"schedule": "half-batch", "blur": "disk-4"}},
    {"curriculum": {"schedule": "replay", "blurs": ["disk-4", "sharp"]}},
    {"curriculum": {"schedule": "fading", "blur": "disk-4"}},
    {"curriculum": {"schedule": "stepwise", "epochs_per_level": 10}},
    {"curriculum": {"schedule": "linear"}},
    {"curriculum": {"schedule": "linear", "start": 4}},
    {"curriculum": {"schedule": "linear", "end": 1}},
    {"curriculum": {"schedule": "cosine"}},
    {"curriculum": {"schedule": "cosine", "start": 4}},
    {"curriculum": {"schedule": "cosine", "end": 1}},
    {"curriculum": {"schedule": "geometric"}},
    {"curriculum": {"schedule": "geometric", "start": 8}},
    {"curriculum": {"schedule": "geometric", "factor": 0.8}},
    {"curriculum": {"schedule": "geometric", "every_epochs": 6}},
    {"curriculum": {"schedule": "mix"}},
    {"curriculum": {"schedule": "mix", "sigmas": [0, 1, 2, 4, 6]}},
    {"curriculum": {"schedule": "mix", "probabilities": [0.4, 0.1, 0.1, 0.2, 0.2]}},
    {"curriculum": {"schedule": "mix", "draw": "batch"}},
    {"curriculum": {"schedule": "mix", "sharp_epochs": 2}},
    {"curriculum": {"schedule": "uniform"}},
    {"curriculum": {"schedule": "uniform", "low": 1}},
    {"curriculum": {"schedule": "uniform", "high": 4}},
    {"curriculum": {"schedule": "uniform", "share": 0.5}},
    {"curriculum": {"schedule": "uniform", "draw": "batch"}},
    {"curriculum": {"schedule": "half-batch"}},
    {"curriculum": {"schedule": "half-batch", "sigma": 8}},
    {"curriculum": {"schedule": "replay"}},
    {"curriculum": {"schedule": "replay", "sigmas": [8, 4, 2, 1]}},
    {"curriculum": {"schedule": "replay", "durations": [1, 1, 1, 1, 2]}},
    {"curriculum": {"schedule": "replay", "draw": "batch"}},
    {"curriculum": {"schedule": "fading"}},
    {"curriculum": {"schedule": "fading", "sigma": 8}},
    {"curriculum": {"schedule": "fading", "a": 0.9}},
    {"curriculum": {"schedule": "fading", "rate": 0.1}},
    {"curriculum": {"schedule": "fading", "draw": "batch"}},
    {"curriculum": {"schedule": "developmental"}},
    {"curriculum": {"schedule": "developmental", "months_per_epoch": 1}},
    {"curriculum": {"schedule": "developmental", "ageing": "batch"}},
    {"curriculum": {"schedule": "developmental-diet"}},
    {"curriculum": {"schedule": "developmental-diet", "months_per_epoch": 1}},
    {"curriculum": {"schedule": "developmental-diet", "ageing": "epoch"}},
    {"curriculum": {"schedule": "developmental-diet", "acuity": False}},
    {"curriculum": {"schedule": "developmental-diet", "colour": False}},
    {"curriculum": {"schedule": "developmental-diet", "contrast": False}},
    {"curriculum": {"schedule": "developmental-diet", "threshold": 0.2}},
    {"curriculum": {"schedule": "developmental-diet", "slope": 100}},
    {"curriculum": {"schedule": "feature-smoothing"}},
    {"curriculum": {"schedule": "feature-smoothing", "sigma": 2}},
    {"curriculum": {"schedule": "feature-smoothing", "factor": 0.8}},
    {"curriculum": {"schedule": "feature-smoothing", "every_epochs": 6}},
    {"curriculum": {"schedule": "feature-smoothing", "kernel_size": 5}},
    {"curriculum": {"schedule": "feature-smoothing", "border": "zero"}},
    {"curriculum": {"schedule": "feature-smoothing", "convolutions": "as-published"}},
    {"curriculum": {"schedule": "feature-smoothing", "at_test": True}},
    {"augmentation": {"colour": 0, "scaled": {}}},
    {"augmentation": {"colour": 0, "scaled": {"object_scales": [384]}}},
    {"augmentation": {"colour": 0, "scaled": {"defined_at": 380}}},
    {"augmentation": {"colour": 0, "scaled": {"network_scales": [256, 512]}}},
    {"augmentation": {"colour": 0, "scaled": {"quantise": False}}},
    {"blur": {"reference_resolution": 256}},
    {"blur": {"truncate": 2}},
    {"blur": {"linear_light": True}},
    {"augmentation": {"crop_scale": [0.4, 1]}},
    {"augmentation": {"crop_ratio": [0.5, 1]}},
    {"augmentation": {"interpolation": "bilinear"}},
    {"augmentation": {"flip": 0}},
    {"augmentation": {"colour": 0}},
    {"augmentation": {"jitter": 0}},
    {"augmentation": {"erasing": 0.5}},
    {"augmentation": {"erasing_area": [0.02, 0.3]}},
    {"augmentation": {"erasing_ratio": [0.3, 3]}},
    {"augmentation": {"rotation": 15}},
    {"augmentation": {"translation": 0.1}},
    {"augmentation": {"zoom": 0.3}},
    {"augmentation": {"hsv_hue": 0.015}},
    {"augmentation": {"hsv_saturation": 0.4}},
    {"augmentation": {"hsv_value": 0.3}},
    {"optimisation": {"optimiser": "sgd"}},
    {"optimisation": {"learning_rate": 0.002}},
    {"optimisation": {"momentum": 0.8}},
    {"optimisation": {"weight_decay": 0}},
    {"optimisation": {"batch_size": 255}},
    {"optimisation": {"epochs": 99}},
    {"optimisation": {"warmup_epochs": 1}},
    {"optimisation": {"warmup_factor": 0.1}},
    {"optimisation": {"learning_rate_schedule": "constant"}},
    {"optimisation": {"learning_rate_schedule": "step", "learning_rate_steps": [30, 60]}},
    {"optimisation": {"learning_rate_schedule": "step", "learning_rate_steps": [30, 60.5]}},
    {
        "optimisation": {
            "learning_rate_schedule": "step",
            "learning_rate_steps": [30, 60],
            "learning_rate_step_factor": 0.2,
        }
    },
    {"optimisation": {"learning_rate_floor": 0.01}},
    {"optimisation": {"groups": [{"match": "features.*", "learning_rate_factor": 0.1}]}},
    {"optimisation": {"groups": [{"match": "features.*", "learning_rate_factor": 0.2}]}},
    {"optimisation": {"groups": [{"match": "features.*", "frozen": True}]}},
    {"optimisation": {"groups": [{"match": "*.bias", "weight_decay": 0}]}},
    {"optimisation": {"label_smoothing": 0.1}},
    {"optimisation": {"ema": 0.99}},
    {"optimisation": {"batch_norm_images": 32}},
    {"network": {"pretrained": WEIGHTS}, "optimisation": {"batch_norm": "frozen"}},
    {"start": START},
    {"start": {**START, "epoch": 3}},
    {"start": {**START, "sha256": "b" * 64}},
    {"optimisation": {"non_finite": "skip"}},
    {"precision": {"arithmetic": "bfloat16"}},
    {"precision": {"tf32": True}},
    {"precision": {"compile": True}},
    {"precision": {"crop_and_blur": "fused"}},
    {"data": {"reduced": {"least_resolution": 32}}},
    {"data": {"reduced": {"least_resolution": 32, "least_sigma": 2}}},
]


def test_whatever_changes_the_weights_changes_the_id() -> None:
    ids = [identity(), *(identity(**change) for change in CHANGES), run_id(compose(MINIMAL, "test"), "f" * 16)]
    assert len(set(ids)) == len(ids)


def test_every_setting_is_known_to_change_the_id_or_not_to() -> None:
    """Whoever adds a setting decides: into CHANGES, or into NEUTRAL; those of a curriculum under each schedule."""
    tried = {key for document in [*CHANGES, *NEUTRAL] for key in _leaves(_by_schedule(document))}
    arguments = {"zero_init_residual": True, "replace_stride_with_dilation": [False, True, True]}
    network = {"architecture": "resnet-18", "arguments": arguments, "pretrained": WEIGHTS, "antialias": {}}
    scaled, protocol = {"colour": 0, "scaled": {}}, {"protocol": {}}
    whole = merge(MINIMAL, {"network": network, "early_stopping": {"patience": 1}, "augmentation": scaled})
    whole = merge(whole, {"evaluation": protocol, "start": START, "network": {"frontend": {}}})
    reduced = merge(MINIMAL, {"data": {"reduced": {}}})
    known = {
        key for document in (whole, reduced) for key in _leaves(_by_schedule(compose(document, "test").model_dump()))
    }
    # None, which is what everything in it stands against.
    network_parts = {f"network.{part}" for part in ("pretrained", "antialias", "frontend")}
    known -= network_parts | {"augmentation.scaled", "evaluation.protocol", "data.reduced"}
    for kind in Curriculum.kinds.values():
        known |= set(_leaves(_by_schedule({"curriculum": kind().model_dump()})))
    for kind in Loss.kinds.values():
        known |= {f"loss.{name}" for name in kind.model_fields}
    assert known == tried


def _by_schedule(document: dict[str, Any]) -> dict[str, Any]:
    """The curriculum's settings below the name of its schedule: `sigma` of one is not `sigma` of another."""
    if "curriculum" not in document:
        return document
    schedule = document["curriculum"].get("schedule", "constant")
    return {**document, "curriculum": {schedule: {**document["curriculum"], "schedule": schedule}}}


def _leaves(document: dict[str, Any], above: str = "") -> list[str]:
    parts = [_leaves(v, f"{above}{k}.") if isinstance(v, dict) else [f"{above}{k}"] for k, v in document.items()]
    return [leaf for part in parts for leaf in part]


NEUTRAL: list[dict[str, Any]] = [
    {"task": {"type": "classification"}},
    {"loss": {"type": "cross-entropy"}},
    {"early_stopping": None},
    {"start": None},
    {"validation": {"every_epochs": 5, "blurs": ["sharp", "disk-4"], "keep_best": "top1"}},
    {"checkpoints": {"keep_epochs": [20, 40]}},
    {"optimisation": {"accumulate": 4}},
    {"data": {"root": "/elsewhere"}},
    {"evaluation": {"measures": ["accuracy"], "per_image": True}},
    {"evaluation": {"deblur": ["wiener"]}},
    {"evaluation": {"split": "val", "sigmas": [3], "blurs": ["disk-4"], "batch_size": 7, "drop_last": True}},
    {"evaluation": {"protocol": {"defined_at": 256, "scales": [224], "crops": "five", "images_per_class": 3}}},
    {"loader": {"kind": "resident", "workers": 3, "threads": 1, "stalled_seconds": 9}},
    {"checkpoints": {"every_minutes": 5, "keep": 9}},
    {"logging": {"tensorboard": False, "every_steps": 3}},
]


@pytest.mark.parametrize("change", NEUTRAL)
def test_what_does_not_change_the_weights_does_not_change_the_id(change: dict[str, Any]) -> None:
    assert identity(**change) == identity()


@pytest.mark.parametrize(
    ("change", "without"),
    [
        ({"blur": {"linear_light": False}}, {}),
        ({"precision": {"tf32": True, "crop_and_blur": "plain"}}, {"precision": {"tf32": True}}),
        ({"augmentation": {"erasing": 0.0, "erasing_area": [0.02, 0.33], "erasing_ratio": [0.3, 3.3]}}, {}),
        ({"augmentation": {"rotation": 0, "translation": 0, "zoom": 0}}, {}),
        ({"augmentation": {"hsv_hue": 0, "hsv_saturation": 0, "hsv_value": 0}}, {}),
        ({"network": {"bias": "zero"}}, {}),
        ({"optimisation": {"learning_rate_schedule": "cosine", "learning_rate_floor": 0}}, {}),
        ({"optimisation": {"learning_rate_steps": [], "learning_rate_step_factor": 0.1, "groups": []}}, {}),
        ({"network": {"dropout": 0}}, {}),
        ({"network": {"antialias": None, "frontend": None}}, {}),
        ({"optimisation": {"batch_norm": "batch"}}, {}),
        ({"loss": {"type": "proposed-blur", "harm": "labels", "layer": ""}}, {"loss": "proposed-blur"}),
        ({"network": {"arguments": {}}}, {}),
        (
            {"curriculum": {"schedule": "stepwise", "epochs_per_level": None}},
            {"curriculum": {"schedule": "stepwise"}},
        ),
    ],
)
def test_a_setting_added_later_is_not_in_the_id_at_its_default(change: dict[str, Any], without: dict[str, Any]) -> None:
    assert identity(**change) == identity(**without)


def test_what_is_added_later_leaves_the_identity_of_old_settings_as_it_was() -> None:
    class Old(Section):
        a: float = 1.0

    class New(Section):
        a: float = 1.0
        b: float | None = added_later(None, gt=0)
        c: int = added_later(3)

    class OldRun(Section):
        part: Old = Old()

    class NewRun(Section):
        part: New = New()

    assert identity_of(NewRun()) == identity_of(OldRun()) == {"part": {"a": 1}}
    assert identity_of(NewRun(part=New(a=2, b=None, c=3))) == identity_of(OldRun(part=Old(a=2)))
    assert identity_of(NewRun(part=New(b=2, c=4))) == {"part": {"a": 1, "b": 2, "c": 4}}
    with pytest.raises(ValueError, match="greater than 0"):
        New(b=0)


def test_pretrained_weights_are_known_by_their_content_not_by_their_place() -> None:
    here, there = ({"pretrained": {"file": file, "sha256": "a" * 64}} for file in ("w.pt", "/elsewhere/v.pt"))
    assert identity(network=here) == identity(network=there) != identity()
    drawn = {"pretrained": {**here["pretrained"], "last_layer": "drawn"}}
    assert identity(network=drawn) == identity(network=here), "as it was before it could be said"


def test_a_checkpoint_to_start_from_is_known_by_its_content_not_by_its_run() -> None:
    assert identity(start=START) == identity(start={**START, "run": "another"}) != identity()


def test_one_run_has_one_id_however_it_is_spelled(file: Path) -> None:
    whole, fraction = identity(curriculum={"sigma": 8}), identity(curriculum={"sigma": 8.0})
    assert whole == fraction == run_id(load(file, ["curriculum.sigma=8e0"]), DATA_ID)
    assert identity(optimisation={"learning_rate": 0.001}) == identity()
    assert run_id(load(file, ["optimisation.learning_rate=1e-3"]), DATA_ID) == identity()
    assert identity(optimisation={"epochs": 50.0}) == identity(optimisation={"epochs": 50})
    networks = [["stem_width=64.0", "drop_rate=5e-1"], ["drop_rate=.5", "stem_width=64"]]
    first, second = (
        load(file, ["network.architecture=timm/resnet50", *(f"network.arguments.{part}" for part in parts)])
        for parts in networks
    )
    assert first.network.arguments == {"stem_width": 64, "drop_rate": 0.5}
    assert run_id(first, DATA_ID) == run_id(second, DATA_ID)


def test_values_are_taken_as_people_write_them(file: Path) -> None:
    assert load(file, ["evaluation.sigmas=0, 4,8"]).evaluation.sigmas == (0.0, 4.0, 8.0)
    assert load(file, ["evaluation.sigmas=4"]).evaluation.sigmas == (4.0,)
    assert [
        b.label for b in load(file, ["evaluation.sigmas=[]", "evaluation.blurs=sharp,disk-4"]).evaluation.blurs
    ] == ["sharp", "disk-4"]
    assert [load(file, [f"seed={text}"]).seed for text in ("08", "010", "0x10", "1_000")] == [8, 10, 16, 1000]
    assert load(file, ["data.root=~/data"]).data.root == str(Path.home() / "data")
    digest = "0123456789abcdef" * 4
    weights = {"file": "~/w.pt", "sha256": f"{digest.upper()}  w.pt"}
    pretrained = compose(merge(MINIMAL, {"network": {"pretrained": weights}}), "test").network.pretrained
    assert pretrained and pretrained.sha256 == digest and pretrained.file == str(Path.home() / "w.pt")


def test_resolved_settings_survive_the_round_trip(tmp_path: Path) -> None:
    for document in ({}, *CHANGES, *NEUTRAL):
        settings = compose(merge(MINIMAL, document), "test")
        (tmp_path / "settings.yaml").write_text(dump(settings))
        again = load_resolved(tmp_path / "settings.yaml")
        assert again == settings
        assert run_id(again, DATA_ID) == run_id(settings, DATA_ID)
