"""The running mean of parameters, which ranks better than where the last steps happened to end."""

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn

__all__ = ["RunningMean"]

_STEPS: Final = "steps"


class RunningMean:
    """Exponential mean over the steps (Polyak and Juditsky 1992, with the weights of Adam's moments).

    Of t steps the last one weighs at least 9 / (10 + t), so that where a training began is soon forgotten.

    Args:
        parameters: Whose mean; they keep their places.
        decay: What the mean keeps of itself in a step, below 1.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters: list[Tensor] = list(parameters)
        self._decay, self._steps = decay, 0
        self._means = [parameter.detach().clone() for parameter in self._parameters]

    def update(self) -> None:
        """Take a step into account."""
        self._steps += 1
        kept = min(self._decay, (1 + self._steps) / (10 + self._steps))
        with torch.no_grad():
            torch._foreach_lerp_(self._means, self._parameters, 1 - kept)

    def swap(self) -> None:
        """Exchange parameters and means; a second call exchanges them back."""
        with torch.no_grad():
            for mean, parameter in zip(self._means, self._parameters, strict=True):
                own = parameter.clone()
                parameter.copy_(mean)
                mean.copy_(own)

    def state(self) -> dict[str, Tensor]:
        """The means by their place, and how many steps they are of."""
        means = {str(place): mean for place, mean in enumerate(self._means)}
        return {**means, _STEPS: torch.tensor(self._steps)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`state` returned."""
        self._steps = int(state[_STEPS])
        for place, mean in enumerate(self._means):
            mean.copy_(state[str(place)])
