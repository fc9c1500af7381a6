"""Put published weights into the cache of torchvision or timm, where runs find them."""

import re
import sys
from pathlib import Path

import torch

from blurtrain.errors import DataError
from blurtrain.files import sha256_of
from blurtrain.models.records import HUB_FILES, Record


def fetch(record: Record) -> Path:
    """Download the weights, unless they are there, by the library's own function; returns where they lie.

    The hash that the library states (eight digits in the file's name, or the hub's SHA-256) is verified, also of what
    was there before. Raises DataError, one line, where they cannot be had, or are others.
    """
    path = record.file
    if path is None:
        if not record.url and not record.hub:
            raise DataError(f"{record.name}: no weights of it are published")
        path = _from_hub(record) if record.hub else _from_url(record)
    if (stated := stated_hash(path)) and not sha256_of(path).startswith(stated):
        raise DataError(
            f"{path} has the SHA-256 {sha256_of(path)}, not {stated} as its publisher states; remove it, and fetch "
            "again"
        )
    return path


def stated_hash(path: Path) -> str:
    """The beginning of the SHA-256 of a file in a cache as its publisher states it; empty: it does not."""
    if re.fullmatch(r"[0-9a-f]{64}", blob := path.resolve().name):
        return blob  # large files of the hub are kept under theirs
    found = re.search(r"-([0-9a-f]{8,})\.[a-z]+$", path.name)
    return found[1] if found else ""


def _from_url(record: Record) -> Path:
    path = record.of_url
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(record.url, str(path), stated_hash(path) or None, progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:  # RuntimeError: another hash
        raise _not_had(record, record.url, error) from error
    return path


def _from_hub(record: Record) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    assert record.hub
    repository, named = record.hub
    wanted = [named] if named else HUB_FILES
    for name in wanted:
        try:
            return Path(hf_hub_download(repository, name))
        except EntryNotFoundError as error:
            if name == wanted[-1]:
                raise _not_had(record, f"{repository} on the hub", error) from error
        except Exception as error:  # of whatever the hub's client is built on
            raise _not_had(record, f"{repository} on the hub", error) from error
    raise AssertionError


def _not_had(record: Record, where: str, error: Exception) -> DataError:
    cause = (str(error) or type(error).__name__).strip().split("\n")[0]
    return DataError(
        f"{record.name}: cannot be had from {where} ({cause}); fetch it where there is internet, and share or copy the "
        "caches (TORCH_HOME, HF_HOME)"
    )
