"""`blurtrain classify` and `blurtrain serve` as commands: the table of a folder, and what is refused."""

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from photo_files import encoded, photo

from blurtrain.cli import main
from blurtrain.serving import Detector
from blurtrain.serving.folder import classify_each
from blurtrain.serving.limits import Refused
from blurtrain.serving.service import Service


def called(*words: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    return int(caught.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path, photos: Sequence[bytes]) -> Path:
    """Photos in folders below each other, and two files that are none."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for k, content in enumerate(photos):
        (folder / ("more" if k % 2 else "") / f"{k:02d}, a.jpg").write_bytes(content)
    (folder / "broken.jpg").write_bytes(photos[0][:300])
    (folder / "empty.png").write_bytes(b"")
    return folder


def table(file: Path) -> list[dict[str, Any]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("blur_type", [None, "defocused_blurred"])
def test_a_row_a_photo(
    model: Path, folder: Path, tmp_path: Path, detector: Detector, blur_type: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "made" / "it.csv"
    more = [] if blur_type is None else ["--blur-type", blur_type]
    assert called("classify", folder, "--model", model, "--out", out, *more) == 0
    printed, err = capsys.readouterr()
    assert printed == f"{out}\n" and "20 of 22 photos classified" in err
    rows = table(out)
    paths = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*g"))
    assert sorted(row["path"] for row in rows) == paths and len(rows) == 22
    for row in rows:
        error = row.pop("error")
        content = (folder / row.pop("path")).read_bytes()
        if error:
            assert set(row.values()) == {""} and ("runcated" in error or error == "empty file")
            continue
        found = asdict(detector.classify(content, blur_type))
        expected = found["probabilities"] if blur_type is None else found
        assert list(row) == list(expected)
        assert row.pop("detected", None) == (str(expected.pop("detected")).lower() if blur_type else None)
        assert {name: float(value) for name, value in row.items()} == pytest.approx(expected, abs=1e-5)
    assert [path.name for path in out.parent.iterdir()] == ["it.csv"]


def test_few_files_are_open_at_a_time(detector: Detector, tmp_path: Path) -> None:
    content, reached = encoded(photo(1)), 0

    def paths() -> Any:
        nonlocal reached
        for reached in range(1, 1001):
            path = tmp_path / f"{reached}.jpg"
            path.write_bytes(content)
            yield path

    found = classify_each(detector, paths(), workers=2)
    for k, (path, answer) in enumerate(found):
        assert path.name == f"{k + 1}.jpg" and not isinstance(answer, Exception)
        assert reached <= k + 12
        path.unlink()
        if k == 40:
            break


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("of ONNX Runtime")])
def test_whatever_a_photo_does_the_others_have_their_rows(
    model: Path, folder: Path, tmp_path: Path, error: Exception, photos: Sequence[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    classify = Detector.classify

    def fails_once(self: Detector, content: bytes, *args: Any, **more: Any) -> Any:
        if content == photos[7]:
            raise error
        return classify(self, content, *args, **more)

    monkeypatch.setattr(Detector, "classify", fails_once)
    assert called("classify", folder, "--model", model, "--out", tmp_path / "it.csv") == 0
    errors = {row["path"]: row["error"] for row in table(tmp_path / "it.csv")}
    assert errors["more/07, a.jpg"] == f"cannot be looked at: {type(error).__name__}"
    assert len(errors) == 22 and list(errors.values()).count("") == 19


def test_a_photo_of_max_mb_can_be_held(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = list[Service]()
    monkeypatch.setattr("blurtrain.serving.server.run", lambda service, *_: started.append(service))
    for megabytes in ("600", "30"):
        jobs = tmp_path / megabytes
        assert called("serve", "--port", "0", "--jobs", jobs, "--max-mb", megabytes) == 0
    for service, count in zip(started, (600_000_000, 500_000_000), strict=True):
        service.budget.take(count)
        with pytest.raises(Refused):
            service.budget.take(1)
        service.close()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{folder}", "--model", "{model}", "--out", "it.json"], "must end in .csv"),
        (["{folder}", "--model", "none.onnx", "--out", "it.csv"], "none.onnx: cannot be read: No such file"),
        (["{folder}/none", "--model", "{model}", "--out", "it.csv"], "none: no such folder"),
        (["{folder}/empty.png", "--model", "{model}", "--out", "it.csv"], "none of its 1 photos can be looked at"),
        (["{folder}", "--model", "{model}", "--out", "it.csv", "--blur-type", "sharp"], "'sharp' is no blur: ask for"),
        (["{folder}", "--model", "{model}", "--out", "{model}/it.csv"], "cannot be written: File exists"),
    ],
)
def test_mistakes_have_one_line(
    model: Path, folder: Path, tmp_path: Path, words: list[str], message: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert called("classify", *(word.format(folder=folder, model=model) for word in words)) == 2
    err = capsys.readouterr().err.strip()
    assert message in err and err.startswith("blurtrain: ") and "\n" not in err
    assert not (tmp_path / "it.csv").exists()


def test_serve_refuses_what_it_cannot_use(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text("short\n")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"x")
    damaged.with_name("damaged.onnx.json").write_text(json.dumps({"classes": []}))
    for words, message in [
        ([model, "--token-file", "token"], "must hold one word of at least 16"),
        ([model, "--token-file", "none"], "cannot be read"),
        ([model, "--host", "256.0.0.1"], "--host 256.0.0.1 --port 8000: "),
        ([damaged, "--port", "0"], "damaged.onnx.json: classes"),
        ([model, "--port", "0", "--jobs", model], "choose another --jobs"),
    ]:
        assert called("serve", *words) == 2
        err = capsys.readouterr().err.strip()
        assert message in err and "\n" not in err


def test_serve_says_where_and_what(model: Path, tmp_path: Path) -> None:
    for words, expected in (
        ([str(model)], f"serving {model} on http://127.0.0.1:"),
        ([], "serving no model (503 to all photos) on http://127.0.0.1:"),
    ):
        command = [sys.executable, "-m", "blurtrain", "serve", *words, "--port", "0", "--jobs", str(tmp_path / "jobs")]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None and expected in process.stderr.readline()
        finally:
            process.terminate()
            process.communicate(timeout=30)
