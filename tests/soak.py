"""Kill trainings at random moments, again and again, and compare their bits with those of undisturbed ones.

python tests/soak.py --kills 20 [--images FOLDER] [--world 2] [--seed 0]    (`make soak`)

Each run is killed (SIGKILL, all of its ranks or one) at moments drawn evenly over the time it takes undisturbed, and
started again, until it is done; then the next run begins, until so many kills have hit. The images are augmented as in
the study, by colour operations and random erasing. Exit code 0 if all bits agree.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from processes import Training, codes, run, start

from blurtrain.data.preparation import Recipe, prepare
from blurtrain.run import Run
from blurtrain.settings import Settings, compose

GRACE_SECONDS = 30


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--images", type=Path, help="folder of class folders (default: generated)")
    parser.add_argument("--world", type=int, default=1, help="processes of each run")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments, kills, runs = random.Random(options.seed), 0, 0
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        folder = Path(temporary)
        recipe = {"images": str(options.images.resolve())} if options.images else {"standin": "faces"}
        prepare(folder / "data", "soak", Recipe(**recipe, resolution=64))
        while kills < options.kills:
            settings = run_settings(folder / "data", seed=runs)
            began = time.monotonic()
            assert codes(run(*[Training(settings, folder / f"{runs}-whole")] * options.world)) == [0] * options.world
            seconds, disturbed = time.monotonic() - began, folder / f"{runs}-killed"
            hits = 0
            while not done(disturbed):
                hits += started_and_killed(settings, disturbed, options, moments, seconds)
            agree = bits(folder / f"{runs}-whole") == bits(disturbed)
            runs, kills = runs + 1, kills + hits
            attempts = len(only_run(disturbed).attempts())
            print(
                f"run {runs} ({seconds:.0f} s undisturbed): killed {hits} times, {attempts} attempts, bits "
                f"{'agree' if agree else 'DIFFER'}; {kills} kills so far",
                flush=True,
            )
            if not agree:
                return 1
    print(f"{kills} random kills in {runs} runs on {options.world} process(es): all weights and evaluations agree")
    return 0


def run_settings(data: Path, seed: int) -> Settings:
    document = {
        "dataset": "soak",
        "regime": "blurry-to-clear",
        "seed": seed,
        "data": {"root": str(data), "resolution": 64},
        "augmentation": {"erasing": 0.5},
        "optimisation": {"epochs": 5, "batch_size": 32, "warmup_epochs": 1},
        "checkpoints": {"every_minutes": 0.02},
        "loader": {"threads": 1},
    }
    return compose(document, "soak")


def started_and_killed(
    settings: Settings, runs: Path, options: argparse.Namespace, moments: random.Random, seconds: float
) -> int:
    """Whether the kill came before the run had ended by itself."""
    processes = start(*[Training(settings, runs)] * options.world)
    time.sleep(moments.uniform(0, seconds))
    victims = moments.choice([processes, [moments.choice(processes)]])
    hit = [victim.process.is_alive() for victim in victims]
    for victim in victims:
        victim.process.kill()
    for process in processes:
        # As launchers do with the others: a rank that waits for the dead one to join it would wait for minutes.
        process.process.join(GRACE_SECONDS)
        process.process.kill()
    ended = codes([process.wait() for process in processes])
    assert set(ended) <= {0, 2, -signal.SIGKILL}, ended  # 2: has lost its peers
    return any(hit)


def only_run(folder: Path) -> Run:
    return Run(next(p.parent for p in folder.glob("*/settings.yaml")))


def done(folder: Path) -> bool:
    return any(folder.glob("*/result.json"))


def bits(folder: Path) -> tuple[bytes, bytes]:
    finished = only_run(folder)
    result = finished.result()
    assert result
    return finished.weights.read_bytes(), (finished.evaluations / result["accuracy"]).read_bytes()


if __name__ == "__main__":
    sys.exit(main())
