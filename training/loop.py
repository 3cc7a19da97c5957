"""The one training loop."""

import copy
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from contracts.errors import TrainingDiverged
from training.evaluation import CUTOFF, evaluate
from training.negatives import UniformNegatives
from training.recommender import EpochReport, FitReport, OnEpoch

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame
    from training.pairwise import PairwiseRecommender

__all__ = ["STOPPING_METRIC", "fit_pairwise"]

STOPPING_METRIC = f"recall_at_{CUTOFF}"
"""Validation metric that decides which epoch is best. Never a test metric."""


def fit_pairwise(
    model: "PairwiseRecommender", frame: "TrainingFrame", *, seed: int, on_epoch: OnEpoch | None = None
) -> FitReport:
    """Adam on triplets until the validation metric stops rising; the best epoch's state is put back.

    Args:
        model: On its device; its parameters are initialised here.
        frame: Training and validation pairs.
        seed: Fixes initialisation, order and negatives. On the CPU equal seeds give equal results.
        on_epoch: Called after each epoch.

    Raises:
        TrainingDiverged: A loss term, a tensor of the model or a score became NaN or infinite.
        BadInput: A user has seen every item, or there are no validation pairs.
    """
    started = time.perf_counter()
    config, device = model.config, model.device
    initial, order = (int(state) for state in np.random.SeedSequence(seed).generate_state(2))
    with _deterministic(device):
        model.begin(frame, torch.Generator().manual_seed(initial))
        pairs = torch.from_numpy(frame.train).to(device)
        sampler = UniformNegatives(pairs, len(frame.users), len(frame.items))
        generator = torch.Generator(device).manual_seed(order)
        optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
        best: EpochReport | None = None
        state: dict[str, Tensor] = {}
        for epoch in range(1, config.max_epochs + 1):
            losses = _one_pass(model, optimizer, pairs, sampler, generator)
            model.refresh()
            _require_finite(model)
            report = EpochReport(epoch, losses, evaluate(model, frame, frame.validation))
            if best is None or report.validation[STOPPING_METRIC] > best.validation[STOPPING_METRIC]:
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


def _one_pass(
    model: "PairwiseRecommender",
    optimizer: torch.optim.Optimizer,
    pairs: Tensor,
    sampler: UniformNegatives,
    generator: torch.Generator,
) -> dict[str, float]:
    """Visit every training pair once in random order; returns each loss term's mean over the batches."""
    model.train()
    shuffled = pairs[torch.randperm(len(pairs), generator=generator, device=pairs.device)]
    sums: dict[str, Tensor] = {}
    batches = torch.split(shuffled, model.config.batch_size)
    for batch in batches:
        users, positives = batch[:, 0].contiguous(), batch[:, 1].contiguous()
        negatives, _ = sampler.sample(users, generator)  # BPR has no use for the log-probabilities.
        terms = model.loss_terms(users, positives, negatives)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            raise _diverged(model, terms)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        for name, term in terms.items():
            sums[name] = sums.get(name, 0) + term.detach()
    model.eval()
    return {name: float(total) / len(batches) for name, total in sums.items()}


def _diverged(model: "PairwiseRecommender", terms: dict[str, Tensor]) -> TrainingDiverged:
    values = {name: float(term.detach()) for name, term in terms.items()}
    name, value = next(((n, v) for n, v in values.items() if not math.isfinite(v)), ("sum", math.inf))
    return _divergence(model, f"loss term {name!r}", found=str(value), expected="a finite number")


def _require_finite(model: "PairwiseRecommender") -> None:
    """The last step of an epoch has no loss after it that would show what it did."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not (finite := torch.isfinite(tensor)).all():
            count = int((~finite).sum())
            raise _divergence(
                model, f"tensor {name!r}", found=f"{count:,} values NaN or infinite", expected="finite numbers"
            )


def _divergence(model: "PairwiseRecommender", part: str, *, found: str, expected: str) -> TrainingDiverged:
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
