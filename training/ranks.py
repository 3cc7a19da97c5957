"""The processes that train one model together.

Each holds the whole model, sees every batch, and takes its part of the rows: the gradients' average is that of the
whole batch. Random numbers are drawn by all alike, so that no process needs to be told what another one drew.
"""

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.batches import Samples

if TYPE_CHECKING:
    from training.step import Objective

__all__ = ["Ranks"]


@dataclass(frozen=True)
class Ranks:
    """How many there are, and which one this is."""

    rank: int = 0
    count: int = 1

    @classmethod
    def current(cls) -> "Ranks":
        """Those of torch's process group; one where there is none."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    @property
    def first(self) -> bool:
        """Whether this is the process that evaluates, writes and speaks."""
        return self.rank == 0

    def share(self, samples: Samples) -> tuple[Samples, float]:
        """This process's rows of a batch, and what its mean loss counts in the processes' average.

        A batch with fewer rows than processes is everybody's.
        """
        if self.count == 1 or len(samples) < self.count:
            return samples, 1.0
        own = slice(self.rank, None, self.count)
        tensors = {field.name: getattr(samples, field.name) for field in fields(samples)}
        context = {name: values[own] for name, values in tensors.pop("context").items()}
        part = Samples(**{name: values[own] for name, values in tensors.items()}, context=context)
        return part, len(part) * self.count / len(samples)

    def averaging(self, model: nn.Module, objective: "Objective") -> "Objective":
        """The objective whose gradients are averaged over the processes on their way back."""
        if self.count == 1:
            return objective
        wrapped: Objective = nn.parallel.DistributedDataParallel(
            _Forward(model, objective), broadcast_buffers=False, init_sync=False, find_unused_parameters=True
        )
        return wrapped

    def mean(self, values: dict[str, float], device: torch.device) -> dict[str, float]:
        """Of each value over the processes."""
        if self.count == 1:
            return values
        total = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return dict(zip(values, (total / self.count).tolist(), strict=True))

    def told(self, document: Any, device: torch.device) -> Any:
        """What the first process says, as JSON."""
        if self.count == 1:
            return document
        text = torch.frombuffer(bytearray(json.dumps(document).encode()), dtype=torch.uint8).to(device)
        size = torch.tensor(len(text), device=device)
        dist.broadcast(size, 0)
        if not self.first:
            text = torch.empty(int(size), dtype=torch.uint8, device=device)
        dist.broadcast(text, 0)
        return json.loads(bytes(text.cpu().numpy()))

    def equalise(self, model: nn.Module) -> None:
        """Give every process the first one's state."""
        if self.count == 1:
            return
        for tensor in model.state_dict().values():
            # Not every backend knows booleans.
            dist.broadcast(tensor.view(torch.uint8) if tensor.dtype == torch.bool else tensor, 0)


class _Forward(nn.Module):
    """The averaging happens around a module's forward(), which a model's objective is not."""

    def __init__(self, model: nn.Module, objective: "Objective") -> None:
        super().__init__()
        self.model = model
        self._objective = objective

    def forward(self, samples: Samples) -> dict[str, Tensor]:
        return self._objective(samples)
