"""What a trained run publishes: its weights, their evaluation, and last of all its result."""

import logging

from blurtrain.evaluation.headline import headline
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.named import measure_named
from blurtrain.evaluation.runs import measure_run
from blurtrain.evaluation.subject import Subject
from blurtrain.files import publish
from blurtrain.models.trained import trained
from blurtrain.training.loop import Training, check_weights, serialised, stop_or_save

log = logging.getLogger(__name__)


def publish_run(training: Training, epochs: int) -> None:
    """Weights, evaluation and result of a run that has been trained for `epochs` epochs."""
    settings, run, group, attempt = training.settings, training.run, training.group, training.attempt
    training.progress.tick(doing="checking images")
    training.pixels.has_passed(wait=True)
    check_weights(training)
    network = training.learner.trained()
    if sigma := settings.curriculum.feature_sigma_at_test(epochs):
        log.info(
            "evaluated with feature maps smoothed by sigma %.3g: the weights alone are not the whole network", sigma
        )
    training.smoothing.sigma = sigma
    end = training.position(epochs)

    def tick() -> None:
        training.progress.tick()
        stop_or_save(training, end)

    training.progress.tick(doing="evaluating", epoch=float(epochs))
    training.progress.filters(training.learner.network, epochs * training.batches.steps)
    if attempt:
        attempt.check()
        publish(run.weights, serialised(network))
    images = Images.of(training.dataset, settings.evaluation, settings.data.resolution)
    loader, training.val_loader = training.batches.loader, None
    if loader.store != images.source.store:
        del training.batches.loader, loader  # first, as it may hold the training store in the device's memory
        loader = training.open_loader(images.source)
    named = trained(network, settings, training.dataset, run.id)
    subject = Subject.of(named, images, loader, training.batches.transform, group, settings.evaluation, tick)
    measures = list(dict.fromkeys([settings.task.measure, *settings.measures]))
    outcome, *_ = measure_run(run, settings, training.dataset, images, epochs, measures, group, lambda _: subject)
    if not attempt:
        return
    attempt.check()
    own = measure_named(settings.task.measure).kind
    training.progress.measured(own, outcome)
    best, metric = training.validator.kept, settings.validation.keep_best
    stopped = f"; stopped early, after {epochs} of {training.epochs} epochs" if epochs < training.epochs else ""
    run.finish(
        {
            "run_id": run.id,
            "dataset": settings.dataset,
            "regime": settings.regime,
            "model": settings.model,
            "seed": settings.seed,
            "data_id": training.dataset.data_id,
            "epochs": epochs,
            "accuracy" if own.name == "accuracy" else "measured": outcome["file"],
            "headline": headline(own, outcome) + stopped,
            **({"best": {"epoch": best.epoch, metric: best.value}} if metric and best.epoch else {}),
        }
    )
    attempt.record("done")
