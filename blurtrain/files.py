"""Files that appear whole, and locks: on local disks and on NFS, whatever is interrupted."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from blurtrain.errors import RunError

Content = bytes | memoryview | str


def publish(path: Path, content: Content) -> None:
    """Write a file so that readers see the old content or the new, never a part, whatever is interrupted.

    Raises RunError where it cannot be written (a full disk, say); the old content then stays.
    """
    temporary = _written_beside(path, content)
    try:
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def publish_once(path: Path, content: Content) -> bool:
    """As `publish`, but only if there is no such file yet; says whether this call was the one that made it."""
    temporary = _written_beside(path, content)
    try:
        os.link(temporary, path)  # unlike open(..., "x"), the file appears with its content
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    sync_folder(path.parent)
    return True


def sha256_of(path: Path) -> str:
    """64 hex digits of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def link(path: Path, source: Path) -> None:
    """Let `path` be another name of the file `source`, or a copy where the file system has no hard links.

    Does nothing where `path` is there already. Raises RunError where it cannot be written.
    """
    try:
        os.link(source, path)
        sync_folder(path.parent)
    except FileExistsError:
        return
    except OSError:
        publish(path, source.read_bytes())


def write_json(path: Path, document: Any) -> None:
    """Publish a document as JSON, a list of numbers on one line."""
    publish(path, _NUMBERS.sub(lambda found: re.sub(r"\s+", " ", found[0]), json.dumps(document, indent=1)))


_NUMBERS = re.compile(r"\[\n[-+.\deE,\s]*\]")  # a line feed inside a JSON string would be written as \n


def _written_beside(path: Path, content: Content) -> Path:
    temporary = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.{threading.get_ident()}")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        temporary.unlink(missing_ok=True)  # what could not be written to a full disk must not stay on it
        if isinstance(error, OSError):
            raise unwritable(path, error) from error
        raise
    return temporary


def unwritable(path: Path, error: OSError) -> RunError:
    """The error to raise where a file cannot be written: with what to do, by whether the disk is full."""
    cure = "free some, then start again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "is the folder writable?"
    return RunError(f"{path}: cannot be written: {error.strerror}; {cure}")


def sync_folder(folder: Path) -> None:
    """What was made, renamed or removed in it survives when the machine goes down."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any | None:
    """The content of a JSON file, None if there is no such file; raises RunError where it is damaged."""
    try:
        return json.loads(read_sealed(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from None


_SEAL = re.compile(rb',\n "content_sha256": "([\da-f]{64})"\n}\n\Z')


def sealed(text: str) -> str:
    """The text of a JSON mapping, which ends in a line "}", with the SHA-256 of all before it as a last entry."""
    body = text.removesuffix("\n}\n")
    return f'{body},\n "content_sha256": "{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'


def read_sealed(path: Path) -> bytes:
    """The content of a file, whole; raises RunError where it is `sealed` and has been changed since, OSError where it
    cannot be read."""
    content = path.read_bytes()
    seal = _SEAL.search(content, max(0, len(content) - 100))
    if seal and hashlib.sha256(memoryview(content)[: seal.start()]).hexdigest().encode() != seal[1]:
        raise RunError(f"{path}: is damaged: it does not fit its SHA-256; remove it, and evaluate again")
    return content


@contextlib.contextmanager
def held(path: Path, patience: float = 2.0) -> Iterator[IO[bytes] | None]:
    """Hold the lock on `path` by the open file; None if somebody else still does after `patience` seconds.

    A little patience, because who only looks whether a lock is held (`is_held`) holds it for a moment. Raises RunError
    where the file system has no locks.
    """
    deadline = time.monotonic() + patience
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    yield None
                    return
                time.sleep(0.02)
            except OSError as error:
                raise RunError(
                    f"{path}: this file system has no locks ({error.strerror}); choose another --runs"
                ) from None
        yield file


def is_held(path: Path) -> bool:
    """Whether a process holds the lock on `path`, this one too; raises RunError as `held` does."""
    if not path.exists():
        return False
    with held(path, patience=0.0) as ours:
        return ours is None
