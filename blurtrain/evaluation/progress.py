"""How far an evaluation is: a bar on a terminal, nothing elsewhere."""

from dataclasses import replace

from tqdm import tqdm

from blurtrain.evaluation.subject import Subject


def ticking(subject: Subject, what: str) -> Subject:
    """The same, with a bar for the batches of the leading process, where there is a terminal to see it."""
    images, group = subject.images, subject.group
    steps = -(-images.n // (images.batch_size * group.world))
    bar = tqdm(total=steps, desc=what, unit="batch", leave=False, disable=None if group.is_main else True)

    def tick() -> None:
        bar.update()
        if bar.n >= steps:
            bar.close()
        subject.tick()

    return replace(subject, tick=tick)
