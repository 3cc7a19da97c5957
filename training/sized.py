"""Parts of a model with tensors whose size the data decide, where the catalogue decides all others."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

__all__ = ["SizedByData"]


class SizedByData(nn.Module):
    """Such a part; its tensors grow along their first dimension."""

    sized: ClassVar[tuple[str, ...]]
    """Names of those buffers and parameters."""

    def make_room(self, state: Mapping[str, Tensor]) -> None:
        """Become as large as in a state of this part, which is to be loaded next; tensors of another rank stay."""
        for name in self.sized:
            own, given = getattr(self, name), state.get(name)
            if given is not None and given.dim() == own.dim():
                self.resize(name, len(given))

    def resize(self, name: str, length: int) -> None:
        """Make one of those tensors so long; it holds zeros then."""
        own: Tensor = getattr(self, name)
        room = own.detach().new_zeros(length, *own.shape[1:])
        setattr(self, name, nn.Parameter(room) if isinstance(own, nn.Parameter) else room)
