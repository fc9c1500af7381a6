"""`blurtrain bench sweep`: what measuring accuracy at many levels of blur costs beside the bare forward passes."""

from collections.abc import Sequence
from typing import Any

import torch

from blurtrain.bench import medians
from blurtrain.bench.train import Bench, opened, peak_memory
from blurtrain.data.augment import Transform
from blurtrain.data.loader import open_loader
from blurtrain.device import ask_for_determinism, cores
from blurtrain.distributed import Group
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.measures.accuracy import Accuracy
from blurtrain.evaluation.subject import Subject
from blurtrain.models import build
from blurtrain.models.trained import trained


def bench_sweep(device: torch.device, bench: Bench, split: str = "test", levels: int = 33) -> list[dict[str, Any]]:
    """Rows of {what, n, seconds, images_per_second, of_bare, gpu_memory_gib}: the ratio is to the bare passes' time.

    The sweep is `evaluate` at sigma 0, 1, 2, ... (so many `levels`): the n images of a split are read, resized, blurred
    at each level and counted, without and with records of each image. The bare passes take the network through as many
    images that lie ready. All in float32, as accuracy always is; an image counts once a level.
    """
    if bench.deterministic:
        ask_for_determinism()
    torch.set_num_threads(len(cores()))
    with opened(bench) as (settings, dataset):
        wanted = {"split": split, "sigmas": tuple(map(float, range(levels))), "batch_size": bench.batch}
        evaluation = settings.evaluation.model_copy(update=wanted)
        module = build(bench.architecture, len(dataset.classes)).to(device, memory_format=torch.channels_last)
        network = trained(module, settings, dataset, "of the bench")
        images = Images.of(dataset, evaluation, bench.resolution)
        loader, transform = open_loader(settings.loader, images.source, device), Transform.of(settings, dataset)
        resized = [transform.resized(batch.images) for batch in loader.epoch(images.indices, bench.batch)]
        ready = [transform.normalise(pixels) for pixels in resized]
        blurs = evaluation.levels(settings.blur.reference_resolution)
        subject = Subject(network, images, loader, transform, Group(0, 1, device))

        @torch.inference_mode()
        def bare() -> None:
            for pixels in ready:
                for _ in range(levels):
                    module(pixels)

        @torch.inference_mode()
        def blurred() -> None:
            for pixels in resized:
                for blur in blurs:
                    transform.blurred(pixels, blur, images.indices[: len(pixels)])

        functions = {
            f"{levels} bare forward passes": bare,
            f"sweep of {levels} levels": lambda: Accuracy().measure(subject, blurs, per_image=False),
            "sweep with records": lambda: Accuracy().measure(subject, blurs, per_image=True),
            f"{levels} blurs alone": blurred,
        }
        taken = medians(functions, device, bench.repeats, enough=20.0)
        least, n = taken[f"{levels} bare forward passes"], images.n
        about = {"architecture": bench.architecture, "resolution": bench.resolution, "batch": bench.batch,
                 "device": str(device), "loader": bench.loader}  # fmt: skip
        return [
            {
                **about,
                "what": what,
                "n": n,
                "seconds": round(ms / 1000, 4),
                "images_per_second": round(1000 * n * levels / ms, 1),
                "of_bare": round(ms / least, 3),
                "gpu_memory_gib": peak_memory(functions[what], device),
            }
            for what, ms in taken.items()
        ]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    about = "{architecture}, {resolution} px, n = {n}, batches of {batch}, {device}, loader {loader}"
    lines = [about.format(**rows[0])]
    lines += [f"{'what':28} {'seconds':>9} {'images/s':>10} {'times bare':>11}"]
    for row in rows:
        lines.append(
            f"{row['what']:28} {row['seconds']:>9.3f} {row['images_per_second']:>10.0f} {row['of_bare']:>11.2f}"
        )
    return "\n".join(lines)
