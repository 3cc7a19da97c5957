"""Full-batch minimisation of small convex-like problems: the companions have no epochs."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from contracts.errors import TrainingDiverged

__all__ = ["minimise"]


def minimise(name: str, objective: Callable[[], Tensor], parameters: Iterable[nn.Parameter], *, steps: int) -> float:
    """L-BFGS with line search (Nocedal and Wright 2006, algorithm 7.5) until the gradient vanishes.

    Args:
        name: What is fitted, for the error.
        objective: The scalar to minimise.
        parameters: What it depends on.
        steps: Iterations, at most.

    Returns:
        The objective in the end.

    Raises:
        TrainingDiverged: It is NaN or infinite.
    """
    optimizer = torch.optim.LBFGS(list(parameters), max_iter=steps, line_search_fn="strong_wolfe")

    def evaluated() -> Tensor:
        optimizer.zero_grad()
        value = objective()
        if not torch.isfinite(value):
            raise TrainingDiverged(
                f"{name}: objective",
                found=str(value.item()),
                expected="a finite number",
                next_step="look for NaN, infinite or huge values in the features",
            )
        torch.autograd.backward(value)
        return value

    optimizer.step(evaluated)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return float(objective())
