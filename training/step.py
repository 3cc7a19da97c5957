"""One step of training."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from contracts.errors import TrainingDiverged
from training.averaging import RunningMean
from training.batches import Samples
from training.ranks import Ranks
from training.recommender import Recommender

__all__ = ["Objective", "Step", "require_finite"]

Objective = Callable[[Samples], dict[str, Tensor]]
"""Terms for a batch, each a scalar already weighted."""


class Step:
    """Adam down the gradient of an objective; several processes share the batch and average their gradients.

    Args:
        model: Holds the parameters; its own are initialised already.
        objective: What to minimise.
        parameters: What to optimise, of it what wants a gradient.
        learning_rate: Step size of Adam.
        clip: Largest norm of the gradient, if any.
        halved: Whether the objective runs in bfloat16 where that is safe.
        averaging: Decay of the running mean of the parameters, if there is to be one.
        ranks: The processes.
    """

    def __init__(
        self,
        model: Recommender,
        objective: Objective,
        parameters: Iterable[nn.Parameter],
        *,
        learning_rate: float,
        clip: float | None,
        halved: bool,
        averaging: float | None,
        ranks: Ranks,
    ) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, lr=learning_rate, fused=True)
        self.mean = None if averaging is None else RunningMean(self.parameters, averaging)
        self._model, self._clip, self._halved, self._ranks = model, clip, halved, ranks
        self._learning_rate = learning_rate
        self._objective = ranks.averaging(model, objective)

    def __call__(self, samples: Samples) -> dict[str, Tensor]:
        """Take the step.

        Args:
            samples: Of all processes.

        Returns:
            The terms before it of this process's part of the samples, in the proportion of that part.

        Raises:
            TrainingDiverged: A term is NaN or infinite.
        """
        own, weight = self._ranks.share(samples)
        with torch.autocast(samples.users.device.type, torch.bfloat16, enabled=self._halved):
            terms = self._objective(own)
        values = torch.stack([term.float() for term in terms.values()])
        loss = values.sum()
        if not torch.isfinite(loss):
            raise self._diverged(terms)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss if weight == 1 else loss * weight)
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self._clip)
        self.optimizer.step()
        if self.mean is not None:
            self.mean.update()
        return {name: term.detach().float() * weight for name, term in terms.items()}

    def restore(self, adam: dict[str, Any]) -> None:
        """Take over the moments of an optimizer of the same parameters."""
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), **adam})

    def _diverged(self, terms: dict[str, Tensor]) -> TrainingDiverged:
        values = {name: float(term.detach()) for name, term in terms.items()}
        name, value = next(((n, v) for n, v in values.items() if not math.isfinite(v)), ("sum", math.inf))
        return _divergence(
            self._model, self._learning_rate, f"loss term {name!r}", found=str(value), expected="a finite number"
        )


def require_finite(model: Recommender, learning_rate: float) -> None:
    """The last step of an epoch has no loss after it that would show what it did.

    Raises:
        TrainingDiverged: A tensor of the model holds NaN or infinity.
    """
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not (finite := torch.isfinite(tensor)).all():
            found = f"{int((~finite).sum()):,} values NaN or infinite"
            raise _divergence(model, learning_rate, f"tensor {name!r}", found=found, expected="finite numbers")


def _divergence(model: Recommender, learning_rate: float, part: str, *, found: str, expected: str) -> TrainingDiverged:
    return TrainingDiverged(
        f"{type(model).__name__}: {part}",
        found=found,
        expected=expected,
        next_step=f"lower `--set learning_rate={learning_rate:g}` and train again",
    )
