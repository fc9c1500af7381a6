"""Which test runs each block of code of README.md, CONTRIBUTING.md and docs/, or why none does: the one list.

A page has an entry for each of its blocks, in order: RUN (by test_docs_pages.py, as it stands), the test that runs it,
or the reason why it is only read. Of a block that is run, lines with a word of READ are only read.
"""

from doc_blocks import DOCS, all_blocks

ROOT = DOCS.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]

RUN = "run"
COMPOSED = "tests/test_docs_blocks.py"
"""Settings, or some of them, that are composed and not trained."""
PRINTED = "what a command prints, or how files lie"
FRESH = "sets up and tests all: fresh.sh"
FETCHED = "published weights, which come over the network"

READ = {
    "torchvision/": FETCHED,
    "timm/": FETCHED,
    "weights fetch": FETCHED,
    "pip install": "packages come over the network; test_environment.py installs from a folder of its own",
    "--cluster": "a SLURM cluster: tests/slurm",
    "torchrun": "eight GPUs; test_distributed.py has two processes",
    "blurtrain serve": "answers until it is ended: tests/serving",
    "http://": "a server's address",
    "blurtrain bench": "minutes of measuring: tests/bench",
    "study-accuracy": "the study's four datasets: tests/analysis",
    "methods-small": "runs of a grid of hours: tests/analysis",
    "@30": "weights of thirty epochs: test_examples.py",
}

BLOCKS: dict[str, str | tuple[str, ...]] = {
    "README.md": (
        FRESH,
        "tests/test_environment.py",
        *(RUN,) * 7,
        "a search of an hour: tests/jobs/search has small ones",
    ),
    "CONTRIBUTING.md": (FRESH, *("tests/test_contributing.py",) * 2),
    "docs/containers.md": "Apptainer or Docker: test_containers.py reads the recipes",
    "docs/datasets/README.md": RUN,
    "docs/datasets/check.md": (RUN, PRINTED),
    "docs/datasets/facescrub.md": (RUN, PRINTED, PRINTED, PRINTED),
    "docs/datasets/imagenet-100.md": (RUN, PRINTED, PRINTED),
    "docs/datasets/imagenet-12.md": (RUN, PRINTED),
    "docs/datasets/imagenet.md": (RUN, PRINTED),
    "docs/datasets/toybox.md": (RUN, PRINTED),
    "docs/datasets/voc.md": (RUN, PRINTED, RUN),
    "docs/deblurring.md": RUN,
    "docs/detector-service.md": (
        "a trained detector: tests/serving",
        "a server: test_service_clients.py",
        *("tests/serving/test_service_docs.py",) * 2,
    ),
    "docs/detector.md": (RUN, FETCHED + "; the model without them is trained by the block before"),
    "docs/exactness.md": RUN,
    "docs/extending.md": RUN,
    "docs/fine-tuning.md": (COMPOSED, COMPOSED, RUN, COMPOSED, COMPOSED, COMPOSED, RUN),
    "docs/first-hour.md": "tests/test_first_hour.py",
    "docs/fused-kernel.md": "a GPU: tests/gpu",
    "docs/gallery.md": RUN,
    "docs/grids.md": (COMPOSED, RUN, RUN, *("a SLURM cluster: tests/slurm",) * 2),
    "docs/losses.md": RUN,
    "docs/measures.md": RUN,
    "docs/measures/adversarial-blur.md": RUN,
    "docs/measures/calibration.md": RUN,
    "docs/measures/features.md": RUN,
    "docs/measures/frequencies.md": RUN,
    "docs/measures/imagenet-c-blur.md": RUN,
    "docs/measures/minimal-blur.md": RUN,
    "docs/measures/receptive-fields.md": RUN,
    "docs/measures/shape-bias.md": RUN,
    "docs/measures/shift-consistency.md": RUN,
    "docs/measures/tuning.md": RUN,
    "docs/methods.md": (
        RUN,
        "runs of a grid of hours: tests/evaluation and tests/analysis",
        *(RUN, "weights of a run of one's own, by their SHA-256: tests/models", RUN, RUN, RUN),
    ),
    "docs/searches.md": "a search of an hour: test_docs_blocks.py reads it, tests/jobs/search has small ones",
    "docs/segmentation.md": RUN,
    "docs/sharpness.md": RUN,
    "docs/statistics.md": "tests/test_docs_run.py",
    "docs/tables-from-runs.md": "tests/test_docs_run.py",
    "docs/tables.md": "tests/analysis/test_docs_tables.py",
    "docs/trackers.md": RUN,
}
"""One entry alone is for every block of its page."""


def claims(name: str) -> list[tuple[str, str, str]]:
    """Kind, text and entry of each block of a page; raises ValueError where there are not as many entries as blocks."""
    found, entries = all_blocks(ROOT / name), BLOCKS.get(name, ())
    entries = (entries,) * len(found) if isinstance(entries, str) else entries
    return [(*block, entry) for block, entry in zip(found, entries, strict=True)]
