"""Exported networks at work: `serve`, and `classify` for a folder."""

import argparse
import ipaddress
import sys
from pathlib import Path
from typing import Any

from blurtrain.commands.options import command


def _serve(options: argparse.Namespace) -> int:
    _installed("fastapi", "uvicorn", "python_multipart", "onnxruntime")
    from blurtrain.serving.limits import Limits
    from blurtrain.serving.server import bound, run
    from blurtrain.serving.service import Service

    token = None if options.token_file is None else _token(options.token_file)
    detector = _detector(options)
    largest = round(1e6 * options.max_mb)
    limits = Limits(photo_bytes=largest, upload_bytes=max(largest, Limits.upload_bytes))
    sock = bound(options.host, options.port)
    service = Service(detector, options.jobs, limits, options.keep_days)
    host, port = sock.getsockname()[:2]
    what = f"{options.model}" if detector else "no model (503 to all photos)"
    print(
        f"blurtrain: serving {what} on http://{f'[{host}]' if ':' in host else host}:{port}",
        file=sys.stderr,
        flush=True,
    )
    if token is None and not ipaddress.ip_address(host).is_loopback:
        print(
            "blurtrain: without --token-file anybody who reaches this address may use it", file=sys.stderr, flush=True
        )
    run(service, sock, token)
    return 0


def _classify(options: argparse.Namespace) -> int:
    _installed("onnxruntime")
    from blurtrain.errors import DataError
    from blurtrain.serving.detector import Detector
    from blurtrain.serving.folder import classify_folder

    if options.out.suffix != ".csv":
        raise DataError(f"--out {options.out}: must end in .csv")
    detector = Detector(options.model, options.megapixels)
    answered, total = classify_folder(detector, options.folder, options.out, options.blur_type)
    print(f"{answered} of {total} photos classified", file=sys.stderr)
    print(options.out)
    return 0


def _installed(*names: str) -> None:
    import importlib.util

    from blurtrain.errors import BlurtrainError

    if lacking := [name for name in names if importlib.util.find_spec(name) is None]:
        raise BlurtrainError(f"needs {', '.join(lacking)}: pip install 'blurtrain[serve]'")


def _detector(options: argparse.Namespace) -> Any:
    """None without a model; where it is named but not there, a line says so."""
    from blurtrain.serving.detector import Detector

    if options.model is None:
        return None
    if not options.model.exists():
        print(f"blurtrain: {options.model}: no such file; start again once it is there", file=sys.stderr)
        return None
    return Detector(options.model, options.megapixels)


def _token(path: Path) -> str:
    from blurtrain.errors import SettingsError

    try:
        token = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--token-file {path}: cannot be read: {getattr(error, 'strerror', error)}") from None
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError(
            f"--token-file {path}: must hold one word of at least 16 letters and digits, e.g. of `openssl rand -hex 32`"
        )
    return token


def add(commands: Any) -> None:
    """Tell the parser of these commands."""
    p = command(commands, "serve", _serve, "answer over HTTP which type of blur photos have (docs/detector-service.md)")
    p.add_argument("model", type=Path, nargs="?", metavar="MODEL.onnx", help="of `blurtrain export`; none: answers 503")
    p.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine alone)")
    p.add_argument("--port", type=_port, default=8000, help="default: 8000; 0: any that is free")
    p.add_argument("--token-file", type=Path, metavar="FILE", help="holds the token that requests have to bring")
    p.add_argument(
        "--jobs", type=Path, default=Path("blur-jobs"), metavar="DIR", help="for batches (default: blur-jobs)"
    )
    p.add_argument("--keep-days", type=_positive, default=7.0, help="how long answers of batches are kept (default: 7)")
    p.add_argument("--max-mb", type=_positive, default=30.0, help="of a photo's file (default: 30)")
    _megapixels(p)

    p = command(commands, "classify", _classify, "which type of blur the photos of a folder have, as a table")
    p.add_argument("folder", type=Path, metavar="FOLDER", help="folder of photos (or one photo)")
    p.add_argument("--model", type=Path, required=True, metavar="MODEL.onnx", help="of `blurtrain export`")
    p.add_argument("--out", type=Path, required=True, metavar="FILE.csv", help="table to write")
    p.add_argument("--blur-type", metavar="TYPE", help="the type that is asked for (default: all probabilities)")
    _megapixels(p)


def _megapixels(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--megapixels", type=_positive, default=60.0, help="of the largest photo that is decoded (default: 60)"
    )


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port: 0 to 65535")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is no positive number")
    return value
