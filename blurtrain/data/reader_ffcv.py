"""Reading by FFCV's threads. Import this module only where FFCV is wanted; raises ImportError where it is missing."""

from collections.abc import Generator
from queue import Empty
from typing import Any

import numba
import numba.typed
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.data.pixel_reader import failed, stalled
from blurtrain.data.store import PixelStore

_threads, _compiled_dict = torch.get_num_threads(), numba.typed.Dict
try:
    numba.typed.Dict = dict  # FFCV's table of two words would be compiled: 3 s a process
    import ffcv.loader.loader as ffcv_loader
    from ffcv.fields.decoders import SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.loader.epoch_iterator import EpochIterator
    from ffcv.memory_managers.os_cache import OSCacheContext, OSCacheManager
    from ffcv.pipeline.compiler import Compiler
    from ffcv.transforms import ToTensor
finally:
    numba.typed.Dict = _compiled_dict
    torch.set_num_threads(_threads)  # FFCV sets torch's threads to 1, for the whole process

_COMPILING_SECONDS = 300.0


def _set_num_threads(compiler: Any, threads: int) -> None:
    compiler.num_threads = threads
    numba.set_num_threads(threads)


Compiler.set_num_threads = classmethod(_set_num_threads)  # FFCV's own sets torch's, too, from its reading thread


class _Mapped(OSCacheManager):
    """FFCV's own also keeps sets of all samples and pages, which nothing here uses: of a million images, half a GB."""

    def __init__(self, reader: Any):
        self.reader, table = reader, reader.alloc_table
        order = np.argsort(table["ptr"], kind="stable")  # they mostly are in order
        self.ptrs, self.sizes = table["ptr"][order], table["size"][order]
        self.context = OSCacheContext(self)


ffcv_loader.OSCacheManager = _Mapped


class FFCVReader:
    """FFCV's threads read ahead; one FFCV Loader, compiled once, serves every epoch, order and batch size."""

    def __init__(self, store: PixelStore, workers: int, stalled_seconds: float):
        self.images, self.beton, self.stalled_seconds = len(store), store.beton, _COMPILING_SECONDS
        self.ffcv = Loader(
            str(store.beton),
            batch_size=1,
            num_workers=min(workers, numba.config.NUMBA_NUM_THREADS),  # type: ignore[attr-defined]  # more are refused
            order=OrderOption.SEQUENTIAL,
            seed=0,  # without use, but FFCV would draw one from NumPy's global state
            os_cache=True,
            pipelines={"image": [SimpleRGBImageDecoder(), ToTensor()], "index": None},
        )
        for _ in self.batches(np.arange(1), 1):  # so that it is compiled here, and not while an epoch's clock ticks
            pass
        self.stalled_seconds = stalled_seconds

    def batches(self, order: NDArray[np.int64], batch_size: int) -> Generator[Tensor]:
        """See `PixelReader`. Raises IndexError for an image that is not in the store."""
        if len(order) and not 0 <= order.min() <= order.max() < self.images:
            raise IndexError("no such image in the store")  # compiled code would read whatever lies there in memory
        self.ffcv.batch_size = batch_size  # each epoch's buffers are allocated by this
        epoch = _Epoch(self.ffcv, order.astype(np.uint64))
        try:
            while (item := self._next(epoch)) is not None:
                yield item[1][0]
        finally:
            epoch.stop()

    def _next(self, epoch: "_Epoch") -> Any:
        try:
            item = epoch.output_queue.get(timeout=self.stalled_seconds)
        except Empty:
            raise stalled(self.beton, "ffcv", self.stalled_seconds) from None
        if isinstance(item, Exception):
            raise failed(self.beton, "ffcv", f"FFCV's reader raised {type(item).__name__}: {item}") from item
        return item


class _Epoch(EpochIterator):
    """FFCV's reading thread, which says why it died, and ends when it is no longer listened to."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            self.output_queue.put(error)

    def stop(self) -> None:
        self.close()
        self.iter_ixes = iter(())
        # It may wait for room in the queue for a last batch, and then for the mark of the end: now there is some.
        while not self.output_queue.empty():
            self.output_queue.get()
        self.join(timeout=1)
