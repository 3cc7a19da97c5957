"""The one training loop."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from contracts.errors import TrainingDiverged
from training.batches import Samples
from training.evaluation import CUTOFF, evaluate
from training.negatives import UniformNegatives
from training.recommender import EpochReport, FitReport, OnEpoch

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame
    from training.learned import LearnedRecommender

__all__ = ["STOPPING_METRIC", "fit_learned"]

STOPPING_METRIC = f"recall_at_{CUTOFF}"
"""Validation metric that decides which epoch is best. Never a test metric."""

Objective = Callable[[Samples], dict[str, Tensor]]


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
) -> FitReport:
    """Adam on samples until the validation metric stops rising; the best epoch's state is put back.

    Args:
        model: On its device; its parameters are initialised here.
        frame: Training and validation pairs.
        seed: Fixes initialisation, order and negatives. On the CPU equal seeds give equal results.
        on_epoch: Called after each epoch.
        objective: Terms to minimise; the model's own if None.
        parameters: What to optimise; everything if None.
        fresh: Whether to initialise; False for a further stage, which starts from what the last one has learnt.
        epochs: Passes of a stage whose worth no ranking tells: so many, without validation, and the last state stays.

    Raises:
        TrainingDiverged: A loss term, a tensor of the model or a score became NaN or infinite.
        BadInput: A user has seen every item, or there are no validation pairs.
    """
    started = time.perf_counter()
    config, device = model.config, model.device
    initial, order = (int(state) for state in np.random.SeedSequence(seed).generate_state(2))
    with _deterministic(device):
        if fresh:
            model.begin(frame, torch.Generator().manual_seed(initial))
        pairs = torch.from_numpy(frame.train).to(device)
        feed = _Feed(pairs, *_contexts_of(frame, device), UniformNegatives(pairs, len(frame.users), len(frame.items)))
        step = _Step(model, objective or model.loss_terms, list(parameters or model.parameters()))
        generator = torch.Generator(device).manual_seed(order)
        best: EpochReport | None = None
        state: dict[str, Tensor] = {}
        for epoch in range(1, (epochs or config.max_epochs) + 1):
            model.start_epoch(epoch, torch.Generator(device).manual_seed(_seed_of(seed, epoch)))
            losses = _one_pass(step, feed, generator)
            model.refresh()
            _require_finite(model)
            report = EpochReport(epoch, losses, {} if epochs else evaluate(model, frame, frame.validation))
            if best is None or epochs or report.validation[STOPPING_METRIC] > best.validation[STOPPING_METRIC]:
                best, state = report, copy.deepcopy(model.state_dict())
            if on_epoch is not None:
                on_epoch(report)
            if epoch - best.epoch >= config.patience:
                break
        assert best is not None
        model.load_state_dict(state)
    return FitReport(
        epochs=report.epoch,
        best_epoch=best.epoch,
        validation=best.validation,
        losses=best.losses,
        seconds=time.perf_counter() - started,
    )


def _seed_of(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


class _Feed(NamedTuple):
    """The training pairs, and what makes samples of them."""

    pairs: Tensor
    """``[n, 2]``."""
    rows: Tensor | None
    """Row in the contexts of each pair, ``[n]``."""
    contexts: dict[str, Tensor]
    sampler: UniformNegatives

    def samples(self, order: Tensor, size: int, k: int, generator: torch.Generator) -> Iterator[Samples]:
        """The pairs at these positions, ``size`` at a time."""
        for some in torch.split(order, size):
            users, positives = self.pairs[some].T.contiguous()
            rows = None if self.rows is None else self.rows[some]
            context = {} if rows is None else {name: table[rows] for name, table in self.contexts.items()}
            yield Samples(users, positives, *self.sampler.sample(users, k, generator), context)


def _contexts_of(frame: "TrainingFrame", device: torch.device) -> tuple[Tensor | None, dict[str, Tensor]]:
    rows = getattr(frame, "train_context", None)
    if rows is None:
        return None, {}
    contexts = {name: torch.from_numpy(table).to(device) for name, table in getattr(frame, "contexts", {}).items()}
    return torch.from_numpy(rows).to(device), contexts


class _Step:
    """One step down the gradient of the objective on a batch."""

    def __init__(self, model: "LearnedRecommender", objective: Objective, parameters: list[nn.Parameter]) -> None:
        self.model, self._objective, self._parameters = model, objective, parameters
        self._clip = model.config.gradient_clip
        self._halved = model.config.precision == "bf16"
        self._optimizer = torch.optim.Adam(parameters, lr=model.config.learning_rate, fused=True)

    def __call__(self, samples: Samples) -> dict[str, Tensor]:
        """The terms before the step."""
        with torch.autocast(samples.users.device.type, torch.bfloat16, enabled=self._halved):
            terms = self._objective(samples)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            raise _diverged(self.model, terms)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self._optimizer.step()
        return {name: term.detach() for name, term in terms.items()}


def _one_pass(step: _Step, feed: _Feed, generator: torch.Generator) -> dict[str, float]:
    """Visit the training pairs as the model wants them; returns each loss term's mean over the batches."""
    model, config = step.model, step.model.config
    model.train()
    sums: dict[str, Tensor] = {}
    batches = 0
    order = model.visits(feed.pairs, generator)
    for samples in feed.samples(order, config.batch_size, config.negatives, generator):
        batches += 1
        for name, term in step(samples).items():
            sums[name] = sums.get(name, 0) + term
    model.eval()
    return {name: float(total) / batches for name, total in sums.items()}


def _diverged(model: "LearnedRecommender", terms: dict[str, Tensor]) -> TrainingDiverged:
    values = {name: float(term.detach()) for name, term in terms.items()}
    name, value = next(((n, v) for n, v in values.items() if not math.isfinite(v)), ("sum", math.inf))
    return _divergence(model, f"loss term {name!r}", found=str(value), expected="a finite number")


def _require_finite(model: "LearnedRecommender") -> None:
    """The last step of an epoch has no loss after it that would show what it did."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not (finite := torch.isfinite(tensor)).all():
            count = int((~finite).sum())
            raise _divergence(
                model, f"tensor {name!r}", found=f"{count:,} values NaN or infinite", expected="finite numbers"
            )


def _divergence(model: "LearnedRecommender", part: str, *, found: str, expected: str) -> TrainingDiverged:
    return TrainingDiverged(
        f"{type(model).__name__}: {part}",
        found=found,
        expected=expected,
        next_step=f"lower `--set learning_rate={model.config.learning_rate:g}` and train again",
    )


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
