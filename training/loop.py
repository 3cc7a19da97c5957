"""The one training loop."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from training.averaging import RunningMean
from training.checkpoints import Checkpoint, Standing, facts_of
from training.evaluation import evaluate
from training.feed import Feed
from training.protocols import FULL_20, Protocol, validation_of
from training.ranks import Ranks
from training.recommender import EpochReport, FitReport, OnEpoch
from training.step import Objective, Step, require_finite

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame
    from training.learned import LearnedRecommender

__all__ = ["fit_learned"]


def fit_learned(
    model: "LearnedRecommender",
    frame: "TrainingFrame",
    *,
    seed: int,
    on_epoch: OnEpoch | None = None,
    objective: Objective | None = None,
    parameters: Iterable[nn.Parameter] | None = None,
    fresh: bool = True,
    epochs: int | None = None,
    protocol: Protocol = FULL_20,
    checkpoint: Path | None = None,
) -> FitReport:
    """Adam on samples until the validation metric stops rising; the best epoch's state is put back.

    In a process group of torch, see :mod:`training.distributed`, all processes call this with equal arguments and end
    with equal models; the first one evaluates, writes and calls ``on_epoch``, and its protocol and checkpoint count.

    Args:
        model: On its device; its parameters are initialised here.
        frame: Training and validation pairs.
        seed: Fixes initialisation, order and negatives. On the CPU equal seeds give equal results.
        on_epoch: Called after each epoch; first for those that a checkpoint knows.
        objective: Terms to minimise; the model's own if None.
        parameters: What to optimise; everything if None.
        fresh: Whether to initialise; False for a further stage, which starts from what the last one has learnt.
        epochs: Passes of a stage whose worth no ranking tells: so many, without validation, and the last state stays.
        protocol: How epochs are judged, and by which metric.
        checkpoint: File that keeps the standing after each epoch; a training that was killed goes on from there, with
            the same results. Removed in the end. Of a training in stages each has its own.

    Raises:
        TrainingDiverged: A loss term, a tensor of the model or a score became NaN or infinite.
        BadInput: A user has seen every item, there are no validation pairs, or the checkpoint is of another training.
        StorageFull: There is no room for the checkpoint.
    """
    started, config, device, ranks = time.perf_counter(), model.config, model.device, Ranks.current()
    initial, order = (int(state) for state in np.random.SeedSequence(seed).generate_state(2))
    objective = objective or model.loss_terms
    with _deterministic(device):
        # Only the first process need know them.
        path, stopping = ranks.told((checkpoint and str(checkpoint), protocol.stopping), device)
        kept = None
        if path is not None:
            kept = Checkpoint(Path(path), facts_of(model, frame, seed, getattr(objective, "__name__", "objective")))
        if fresh:
            model.begin(frame, torch.Generator().manual_seed(initial))
        ranks.equalise(model)
        feed = Feed(model, frame)
        step = Step(
            model,
            objective,
            parameters or model.parameters(),
            learning_rate=config.learning_rate,
            clip=config.gradient_clip,
            halved=config.precision == "bf16",
            averaging=config.averaging,
            ranks=ranks,
        )
        generator = torch.Generator(device).manual_seed(order)
        course = _Course(stopping if epochs is None else None, epochs or config.max_epochs, config.patience)
        before = 0.0
        if kept is not None and (standing := kept.load()) is not None:
            model.load_state_dict(standing.model)
            step.restore(standing.adam)
            if step.mean is not None:
                step.mean.restore(standing.mean)
            generator.set_state(standing.generator)
            before = standing.seconds
            course.reports, course.state = standing.reports, standing.best or standing.model
            if on_epoch is not None and ranks.first:
                for report in standing.reports:
                    on_epoch(report)
        while not course.over:
            epoch = len(course.reports) + 1
            model.start_epoch(epoch, torch.Generator(device).manual_seed(_seed_of(seed, epoch)))
            losses = ranks.mean(_one_pass(model, step, feed, generator), device)
            with _averaged(model, step.mean):
                model.refresh()
                require_finite(model, config.learning_rate)
                measured: dict[str, float] = {}
                if epochs is None and ranks.first:
                    measured = evaluate(model, frame, validation_of(frame), protocol)
                report = EpochReport(epoch, losses, ranks.told(measured, device))
                course.add(report, model.state_dict())
            if not ranks.first:
                continue
            if kept is not None:
                standing = Standing(
                    model=model.state_dict(),
                    best={} if course.best is report and step.mean is None else course.state,
                    mean={} if step.mean is None else step.mean.state(),
                    adam=step.optimizer.state_dict(),
                    generator=generator.get_state(),
                    reports=course.reports,
                    seconds=before + time.perf_counter() - started,
                )
                kept.save(standing)
            if on_epoch is not None:
                on_epoch(report)
        model.load_state_dict(course.state)
        if kept is not None and ranks.first:
            kept.remove()
    best = course.best
    return FitReport(
        epochs=len(course.reports),
        best_epoch=best.epoch,
        validation=best.validation,
        losses=best.losses,
        seconds=before + time.perf_counter() - started,
    )


class _Course:
    """The epochs of a training: which is best, and whether it is over.

    Args:
        stopping: The metric that decides; None where the last epoch is best.
        most: Epochs at most.
        patience: Epochs without a better one after which it is over.
    """

    def __init__(self, stopping: str | None, most: int, patience: int) -> None:
        self._stopping, self._most, self._patience = stopping, most, patience
        self.reports: list[EpochReport] = []
        self.state: dict[str, Tensor] = {}
        """Of the best epoch."""

    @property
    def best(self) -> EpochReport:
        """The first of the best epochs so far."""
        if self._stopping is None:
            return self.reports[-1]
        stopping = self._stopping
        return max(self.reports, key=lambda report: report.validation[stopping])

    @property
    def over(self) -> bool:
        """Whether no epoch is to follow."""
        count = len(self.reports)
        return count >= self._most or (count > 0 and count - self.best.epoch >= self._patience)

    def add(self, report: EpochReport, state: dict[str, Tensor]) -> None:
        """Take note of an epoch; its state is copied where it is the best."""
        self.reports.append(report)
        if self.best is not report:
            return
        for name, tensor in state.items():
            if name in self.state:
                self.state[name].copy_(tensor)  # No second allocation of the size of a model.
            else:
                self.state[name] = tensor.detach().clone()


@contextmanager
def _averaged(model: "LearnedRecommender", mean: RunningMean | None) -> Iterator[None]:
    """The model with the mean of its parameters, where one is kept."""
    if mean is None:
        yield
        return
    mean.swap()
    try:
        yield
    finally:
        mean.swap()
        model.refresh()


def _seed_of(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def _one_pass(model: "LearnedRecommender", step: Step, feed: Feed, generator: torch.Generator) -> dict[str, float]:
    """Visit the training pairs as the model wants them; returns each loss term's mean over the batches."""
    model.train()
    sums: dict[str, Tensor] = {}
    batches = 0
    for samples in feed.samples(generator):
        batches += 1
        for name, term in step(samples).items():
            sums[name] = sums.get(name, 0) + term
    model.eval()
    return {name: float(total) / batches for name, total in sums.items()}


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """Only kernels that sum in a fixed order, where all that we use have one: on the CPU."""
    options: Any = torch.utils.deterministic  # Its one attribute is defined where mypy does not look.
    before = torch.are_deterministic_algorithms_enabled(), options.fill_uninitialized_memory
    torch.use_deterministic_algorithms(device.type == "cpu" or before[0])
    # A third of an epoch went into filling memory that the next operation writes anyway.
    options.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        options.fill_uninitialized_memory = before[1]
