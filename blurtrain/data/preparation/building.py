"""A store while it is written: its pixels, and a record of each image, so that what is killed is taken up again.

<form>/pixels.beton     see `blurtrain.data.beton`; without its tables until the end
<form>.records          one RECORD an image that is done, in the order of the work; written behind its pixels
"""

import csv
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blurtrain.data.beton import BetonWriter, Encoding
from blurtrain.data.canvas import as_seen
from blurtrain.data.encode import Encoded, Form, Prepared
from blurtrain.data.ffcv_decoder import Decoder
from blurtrain.data.preparation.readers import Sample
from blurtrain.data.store import PixelStore, checksum
from blurtrain.errors import DataError

RECORD = np.dtype([
    ("sample", "<u4"), ("stored", "?"), ("cropped", "?"), ("needed", "u1"), ("stated", "?"),
    ("sha256", "V32"), ("crc32", "<u4"), ("encoded", "<u4"), ("height", "<u4"), ("width", "<u4"),
    ("pointer", "<u8"), ("bytes", "<u8"), ("sums", "<u8", 6),
])  # fmt: skip
_ROWS_AT_A_TIME = 4096


class Building:
    """The images of one form, in `folder`. May be ended early, and is then taken up again."""

    def __init__(self, folder: Path, capacity: int, form: Form):
        folder.mkdir(exist_ok=True)
        self.form, self.store = form, PixelStore(folder)
        self._path = folder.with_suffix(".records")
        self._capacity, self._written = capacity, 0
        self.moved = False
        """Whether an earlier call has finished it, and moved it to its place."""
        self.records = np.zeros(capacity, RECORD)
        """Of those that are done, in the order of the work."""
        self.done = 0

    @property
    def encoding(self) -> Encoding:
        """How images are stored: raw, or as JPEG (jpg)."""
        return "raw" if self.form.jpeg_quality is None else "jpg"

    @property
    def left(self) -> int:
        """How many images there may still be."""
        return self._capacity - self.done

    @property
    def mean_bytes(self) -> float:
        """Of an image that is stored."""
        stored = self.records["bytes"][: self.done]
        return float(stored.sum() / max(1, np.count_nonzero(stored)))

    def take_up(self, most: int | None = None) -> None:
        """Find what an earlier attempt has done, of which at most so many count, and open the files."""
        path = self._path
        known = np.fromfile(path, RECORD)[:most] if path.exists() else self.records[:0]
        there = self.store.beton.stat().st_size if self.store.beton.exists() else 0
        known = known[: self._capacity]
        whole = ~known["stored"] | (known["pointer"] + known["bytes"] <= there)
        if len(known) == self._capacity and not there:
            self.moved, self.done = True, len(known)
            self.records[:] = known
            return
        self.done = len(known) if whole.all() else int(np.argmin(whole))
        self.records[: self.done] = known[: self.done]
        stored = self.records[: self.done][self.records["stored"][: self.done]]
        self._beton = BetonWriter(
            self.store.beton, self._capacity, self.form.canvas, self.encoding, stored["pointer"], stored["bytes"]
        )
        self._log = path.open("r+b" if path.exists() else "wb")
        self._log.truncate(self.done * RECORD.itemsize)
        self._log.seek(0, os.SEEK_END)
        self._written = self.done

    def add(self, sample: int, prepared: Prepared, encoded: Encoded | None) -> None:
        """What has become of a sample; encoded: its image, if there is one."""
        record = self.records[self.done]
        record["sample"], record["stored"] = sample, encoded is not None
        record["needed"], record["stated"] = prepared.needed, prepared.stated
        record["sha256"] = np.void(bytes.fromhex(prepared.sha256 or "0" * 64))
        if encoded is not None:
            record["pointer"], record["bytes"] = self._beton.append(encoded.content)
            for name in ("height", "width", "cropped", "crc32", "encoded", "sums"):
                record[name] = getattr(encoded, name)
        self.done += 1

    def commit(self) -> None:
        """From here on, what was added is not done again."""
        self._beton.flush()
        self._log.write(self.records[self._written : self.done].tobytes())
        self._log.flush()
        self._written = self.done

    def end(self) -> None:
        """Close the files; what was not committed is lost."""
        if not self.moved:
            self._log.close()
            self._beton.__exit__(InterruptedError, None, None)

    def finish(self) -> "Finished":
        """All has been added: write the tables. Until its folder is moved, it can be taken up again."""
        if not self.moved:
            self.commit()
        records = self.records[: self.done]
        records = records[records["stored"]]
        order = np.argsort(records["sample"], kind="stable")
        in_order = bool((order == np.arange(len(order))).all())
        if not self.moved:
            self._beton.order = None if in_order else order
            self._log.close()
            with self._beton:
                pass
        return Finished(self.store, self.form, records if in_order else records[order])


class Finished:
    """All images of a form, in the order in which they are stored."""

    def __init__(self, store: PixelStore, form: Form, records: NDArray[np.void]):
        self.store, self.form, self.records = store, form, records

    def __len__(self) -> int:
        return len(self.records)

    def key(self, name: str, samples: Sequence[Sample], parts: bool) -> str:
        """The store's id: a hash of `name`, the size, and of each image the key and the SHA-256 of its file (and which
        part of that it is)."""
        rows = (row[: 2 + parts] for row in self._rows(samples, parts))
        content = hashlib.sha256(f"[{json.dumps(name)}, {self.form.size}, [".encode())
        for k, some in enumerate(_batches(rows)):
            content.update((", " * (k > 0) + json.dumps(some)[1:-1]).encode())
        content.update(b"]]")
        return content.hexdigest()[:16]

    def write_table(self, samples: Sequence[Sample], parts: bool) -> None:
        """Write images.csv."""
        head = ["path", "sha256", *(["part"] if parts else []), "crc32"]
        head += ["height", "width", "cropped"] if self.form.longest is not None else []
        head += ["encoded"] if self.form.jpeg_quality is not None else []
        with (self.store.folder / "images.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(head)
            table.writerows(self._rows(samples, parts))
            file.flush()
            os.fsync(file.fileno())

    def check(self, workers: int) -> None:
        """Compare the bytes that lie in the file with those that were written; raises DataError."""
        with ThreadPoolExecutor(workers) as pool:  # neither reading nor the checksum holds Python's lock
            for _ in pool.map(self._check, np.array_split(np.arange(len(self)), workers)):
                pass

    def check_pixels(self, most: int, decode: Decoder) -> None:
        """Compare pixels with what another decoder makes of the bytes, for so many of the images; raises DataError."""
        places = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).astype(int))
        for place, content in self._contents(places):
            record = self.records[place]
            sides = np.array([record["height"], record["width"]], np.int64)
            if int(checksum(as_seen(decode(content, self.form.canvas), sides)), 16) != record["crc32"]:
                raise DataError(
                    f"{self.store.beton}: FFCV and Pillow decode JPEG differently, image {place} for one; prepare with "
                    "--encoding raw"
                )

    def _check(self, places: NDArray[np.int64]) -> None:
        for place, content in self._contents(places):
            if zlib.crc32(content) != self.records[place]["encoded"]:
                raise DataError(
                    f"{self.store.beton}: image {place} is not as it was written: is the disk damaged? Start again"
                )

    def _contents(self, places: NDArray[np.int64]) -> Iterator[tuple[int, bytes]]:
        with self.store.beton.open("rb", buffering=0) as file:
            for place in places.tolist():
                record = self.records[place]
                yield place, os.pread(file.fileno(), int(record["bytes"]), int(record["pointer"]))

    def _rows(self, samples: Sequence[Sample], parts: bool) -> Iterator[tuple[str, ...]]:
        kept, jpg = self.form.longest is not None, self.form.jpeg_quality is not None
        for record in self.records:
            sample = samples[record["sample"]]
            yield (
                sample.key,
                record["sha256"].tobytes().hex(),
                *((sample.source(Path()).part,) if parts else ()),
                f"{record['crc32']:08x}",
                *((str(record["height"]), str(record["width"]), str(int(record["cropped"]))) if kept else ()),
                *((f"{record['encoded']:08x}",) if jpg else ()),
            )


def _batches(rows: Iterator[tuple[str, ...]]) -> Iterator[list[tuple[str, ...]]]:
    while some := list(islice(rows, _ROWS_AT_A_TIME)):
        yield some
