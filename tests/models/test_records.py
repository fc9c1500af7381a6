"""Published weights: their names and records, the caches that they are found in, and how they get there."""

import functools
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from blurtrain import cli
from blurtrain.errors import DataError, SettingsError
from blurtrain.models import build
from blurtrain.models.fetch import fetch
from blurtrain.models.records import Record, record_of
from blurtrain.models.trained import of_run
from blurtrain.settings import Settings
from blurtrain.settings.identity import identity_of
from blurtrain.training.train import train

Tiny = Callable[..., Settings]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NETWORK = "timm/mobilenetv2_050"


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty ones."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Address of a server of the folder `served`."""
    (tmp_path / "served").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def in_hub(cache: Path, network: str, seed: int = 3) -> Path:
    """Weights of a network in the hub's cache, laid out as the hub's client does."""
    torch.manual_seed(seed)
    content = safetensors.torch.save(build(network, 1000).state_dict())
    record = record_of(network)
    assert record.hub
    repository = cache / "hub" / f"models--{record.hub[0].replace('/', '--')}"
    for folder in ("blobs", "snapshots/abc", "refs"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content)
    place = repository / "snapshots" / "abc" / "model.safetensors"
    place.symlink_to(blob)
    return place


def test_records_are_those_of_the_libraries() -> None:
    first, second = record_of("torchvision/resnet50"), record_of("torchvision/resnet50.IMAGENET1K_V2")
    assert first.preprocessing == {
        "resize": 256, "crop": 224, "interpolation": "bilinear", "mean": IMAGENET[0], "sd": IMAGENET[1],
    }  # fmt: skip
    assert second.preprocessing["resize"] == 232 and first.url != second.url and first.classes == second.classes
    mobile = record_of("timm/mobilenetv2_100")
    assert mobile.preprocessing["interpolation"] == "bicubic" and mobile.hub == ("timm/mobilenetv2_100.ra_in1k", "")
    assert record_of("timm/vit_tiny_patch16_224").preprocessing["mean"] == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torchvision/resnet5", "torchvision has no network 'resnet5'; did you mean 'resnet50'"),
        ("torchvision/resnet50.IMAGENET1K_V3", "no weights 'IMAGENET1K_V3' of it; did you mean 'IMAGENET1K_V2'"),
        ("timm/mobilenetv2_10", "timm has no network 'mobilenetv2_10'; .*mobilenetv2_100"),
        ("timm/mobilenetv2_100.other", "timm/mobilenetv2_100.other: .*other"),
    ],
)
def test_unknown_names_are_a_line_with_the_nearest(name: str, words: str) -> None:
    with pytest.raises(SettingsError, match=rf"^[^\n]*{words}[^\n]*$"):
        record_of(name)


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_weights_are_fetched_by_the_library_and_verified(tmp_path: Path, served: str, scheme: str) -> None:
    content = os.urandom(1000)
    digest = hashlib.sha256(content).hexdigest()
    start = served if scheme == "http" else f"file://{tmp_path}/served"
    good = Record("torchvision/x", {}, url=f"{start}/x-{digest[:8]}.pth")
    (tmp_path / "served" / f"x-{digest[:8]}.pth").write_bytes(content)
    path = fetch(good)
    assert path == tmp_path / "torch/hub/checkpoints" / f"x-{digest[:8]}.pth" and path.read_bytes() == content
    (tmp_path / "served" / f"x-{digest[:8]}.pth").unlink()
    assert fetch(good) == path, "it is there already"
    path.write_bytes(b"damaged")
    with pytest.raises(DataError, match=rf"^[^\n]*not {digest[:8]} as its publisher states; remove it[^\n]*$"):
        fetch(good)
    (tmp_path / "served" / "y-00000000.pth").write_bytes(content)
    with pytest.raises(DataError, match=r"^torchvision/y: cannot be had from [^\n]*invalid hash value[^\n]*$"):
        fetch(Record("torchvision/y", {}, url=f"{start}/y-00000000.pth"))
    with pytest.raises(DataError, match=r"^torchvision/z: cannot be had from [^\n]*TORCH_HOME[^\n]*$"):
        fetch(Record("torchvision/z", {}, url=f"{start}/z.pth"))
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name], "nothing half is left"


def test_a_run_without_weights_says_how_to_get_them_and_fetch_offline_says_why(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = {"architecture": NETWORK, "pretrained": {"published": NETWORK}}
    with pytest.raises(DataError, match=rf"^[^\n]*`blurtrain weights fetch {NETWORK}`[^\n]*$"):
        train(tiny(model="own", network=network), tmp_path / "runs")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SystemExit) as ended:
        cli.main(["weights", "fetch", NETWORK])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1 and f"{NETWORK}: cannot be had from timm/" in said, said


def test_a_run_begins_with_published_weights_and_their_normalisation(
    tiny: Tiny, caches: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path = in_hub(caches, NETWORK)
    network = {"architecture": NETWORK, "pretrained": {"published": NETWORK}}
    short = {"optimisation": {"epochs": 1, "warmup_epochs": 0}, "evaluation": {"sigmas": [0]}}
    run = train(tiny(model="own", network=network, **short), caches / "runs")
    (look,) = [event for event in run.journal() if event["event"] == "pretrained"]
    assert tuple(map(tuple, look["normalisation"])) == IMAGENET == tuple(map(tuple, look["usual"]))
    named = of_run(run.path)
    assert (named.preprocessing.mean, named.preprocessing.sd) == IMAGENET
    assert any("bicubic interpolation; here 64 px" in r.message for r in caplog.records)
    assert not any("as measured on the training split" in r.message for r in caplog.records)
    assert run.settings.data.mean is None, "what is written is what was asked for"
    said = tiny(model="own", network=network, data={"mean": IMAGENET[0]}, **short)
    assert identity_of(said) != identity_of(run.settings)
    with pytest.raises(
        SettingsError, match=rf"^data.sd=.0.5, 0.5, 0.5. [^\n]*{NETWORK} [^\n]*0.229[^\n]*leave it out$"
    ):
        train(tiny(model="own", network=network, data={"sd": [0.5] * 3}), caches / "runs")

    other = {**network, "pretrained": {"published": NETWORK, "sha256": "0" * 64}}
    with pytest.raises(DataError, match=f"not network.pretrained.sha256={'0' * 64}"):
        train(tiny(model="own", network=other), caches / "runs")

    with pytest.raises(SystemExit) as ended:
        cli.main(["weights", "fetch", NETWORK, "--json"])
    (row,) = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0 and row["file"] == str(path) and row["sha256"] == path.resolve().name
    with pytest.raises(SystemExit):
        cli.main(["weights", "list", "--json"])
    assert [r["file"] for r in json.loads(capsys.readouterr().out)] == [str(path)]


def test_of_a_file_the_missing_normalisation_is_warned_of(
    tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(build("alexnet-sup", 3).state_dict(), tmp_path / "w.pt")
    digest = hashlib.sha256((tmp_path / "w.pt").read_bytes()).hexdigest()
    network = {"architecture": "alexnet-sup", "pretrained": {"file": str(tmp_path / "w.pt"), "sha256": digest}}
    short: dict[str, Any] = {"epochs": 1, "warmup_epochs": 0, "batch_size": 30}
    for data, warned in (({"mean": [0.5] * 3}, 1), ({"mean": [0.5] * 3, "sd": [0.5] * 3}, 0)):
        caplog.clear()
        train(tiny(network=network, optimisation=short, data=data, evaluation={"sigmas": [0]}), tmp_path / "runs")
        lines = [r.message for r in caplog.records if "as measured on the training split" in r.message]
        assert len(lines) == warned and all(line.startswith("data.sd as ") for line in lines)


def test_what_is_fetched_from_the_hub_lies_where_runs_look(tmp_path: Path) -> None:
    """Against a server that answers as the hub does, by a process of its own: the hub's client reads its address as it
    is imported."""
    content = safetensors.torch.save({"a": torch.ones(3)})
    digest = hashlib.sha256(content).hexdigest()

    class Hub(http.server.BaseHTTPRequestHandler):
        def _answer(self, body: bool) -> None:
            found = self.path.endswith("/resolve/main/model.safetensors") or "/abc" in self.path
            self.send_response(200 if found else 404)
            for name, value in {
                "Content-Length": str(len(content)) if found else "0", "ETag": f'"{digest}"', "X-Repo-Commit": "a" * 40,
                "X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content)),
            }.items():  # fmt: skip
                self.send_header(name, value)
            self.end_headers()
            if body and found:
                self.wfile.write(content)

        def do_HEAD(self) -> None:
            self._answer(False)

        def do_GET(self) -> None:
            self._answer(True)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_XET": "1",
        }  # fmt: skip
        command = [sys.executable, "-m", "blurtrain", "weights"]
        done = subprocess.run(
            [*command, "fetch", NETWORK], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0 and f"sha256 {digest}" in done.stdout, done
        server.shutdown()
    listed = subprocess.run([*command, "list"], env=environment, capture_output=True, text=True, timeout=120)
    assert str(tmp_path / "hf") in listed.stdout and NETWORK in listed.stdout
