"""Say that a model does not fit on its device, and which options to lower."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from contracts.errors import BadInput
from training.config import RecommenderConfig

__all__ = ["memory_suffices"]


@contextmanager
def memory_suffices(model: str, config: RecommenderConfig) -> Iterator[None]:
    """Around building and fitting a model.

    Args:
        model: Its name.
        config: Its options.

    Raises:
        BadInput: The model or its batches do not fit into memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # On the CPU torch says so in a plain RuntimeError.
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "allocate" not in str(error):
            raise
        sizes = {name: value for name, value in config if name in ("dimension", "batch_size")}
        raise BadInput(
            f"{model} with {', '.join(f'{name} {value:,}' for name, value in sizes.items())}",
            found="not enough memory on the device for it",
            expected="a model and batches that fit",
            next_step=f"lower {' or '.join(f'`--set {name}=…`' for name in sizes)}, or use a larger device",
        ) from None
