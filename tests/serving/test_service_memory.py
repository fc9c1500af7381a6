"""Memory of a service that goes on and on, and with many large photos at once."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from photo_files import encoded, huge_png, photo
from PIL import Image
from serving_process import BATCH, CLASSIFY, Serving


def resident(serving: Serving, what: str = "VmRSS") -> float:
    """MB; VmHWM: the most that it ever was."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{serving.process.pid}/status").read_text())
    assert found
    return int(found[1]) / 1000


@pytest.mark.slow
def test_it_does_not_grow_with_the_number_of_requests(model: Path, tmp_path: Path, photos: list[bytes]) -> None:
    files = [*photos, b"", b"hello", photos[0][:300], huge_png(30_000)]
    with Serving(model, tmp_path / "jobs") as one:

        def many(count: int) -> float:
            for k in range(count):
                one.post(CLASSIFY, [("a.jpg", files[k % len(files)])])
                if k % 100 == 0:
                    one.finished(one.post(BATCH, [("a.jpg", files[0]), ("b.jpg", files[-1])]).json["url"])
            return resident(one)

        before = many(200)
        descriptors = len(list(Path(f"/proc/{one.process.pid}/fd").iterdir()))
        assert many(1000) - before < 8  # a kilobyte kept of each would not show; all of a photo would
        assert len(list(Path(f"/proc/{one.process.pid}/fd").iterdir())) <= descriptors + 2
        assert one.metric("blur_upload_bytes") == 0


@pytest.mark.slow
def test_large_photos_are_decoded_a_few_at_a_time(model: Path, tmp_path: Path) -> None:
    """Thirty of 12 megapixels, which as pixels are 36 MB each, and more than a gigabyte together."""
    content = encoded(photo(1, 4000, 3000), quality=50)
    with Serving(model, tmp_path / "jobs") as one:
        with ThreadPoolExecutor(30) as clients:
            statuses = list(clients.map(lambda _: one.post(CLASSIFY, [("a.jpg", content)]).status, range(30)))
        assert statuses == [200] * 30
        workers = one.metric("blur_workers")
        assert resident(one, "VmHWM") < 250 + 150 * workers + 35 * len(content) / 1e6
        bomb = encoded(Image.new("L", (8000, 7000)), "PNG")  # within the limit, of 54 kB
        assert one.post(CLASSIFY, [("a.png", bomb)]).status == 200
