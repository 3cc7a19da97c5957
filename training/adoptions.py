"""The videos of the training pairs and the music that each of them took."""

import torch
from torch import Tensor

from training.batches import PADDING
from training.sized import SizedByData

__all__ = ["Adoptions"]

_CHUNK = 32_768
"""Videos compared at a time; bounds memory at requests x chunk floats."""


class Adoptions(SizedByData):
    """V training videos: their numbers, what they contain and their music.

    A request brings a video that mostly nobody has seen before, so that videos are told apart by content. The number
    only serves to leave a training video out of what is said about itself: its own music is the answer.

    Args:
        width: Components of a video's content.
    """

    sized = ("number", "content", "music")

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("number", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("content", torch.zeros(0, width, dtype=torch.float16))
        self.register_buffer("music", torch.zeros(0, dtype=torch.int64))
        self.number: Tensor
        self.content: Tensor
        self.music: Tensor

    def __len__(self) -> int:
        return len(self.number)

    def hold(self, number: Tensor, content: Tensor, music: Tensor) -> None:
        """Take the videos of the training pairs.

        Args:
            number: Of each video, distinct, int64 ``[V]``.
            content: Of length 1 or zeros, ``[V, width]``; kept as float16.
            music: Item row that each video took, int64 ``[V]``.
        """
        order = torch.argsort(number)
        device = self.number.device
        self.number = number[order].to(device)
        self.content = content[order].to(device, torch.float16)
        self.music = music[order].to(device)

    def places(self, numbers: Tensor) -> Tensor:
        """Where videos are among those held, -1 where they are not; int64 ``[B]``, numbers alike."""
        if not len(self):
            return torch.full_like(numbers, PADDING)
        place = torch.searchsorted(self.number, numbers).clamp(max=len(self) - 1)
        return torch.where(self.number[place] == numbers, place, PADDING)

    def music_of_similar(self, content: Tensor, own: Tensor, count: int) -> Tensor:
        """Music of the videos most similar to those requested, by cosine (Appendix B.2, before eq. B.6).

        Args:
            content: Of length 1 or zeros, ``[B, width]``; no video is similar to one without content.
            own: Places of the requested videos, which are left out, -1 for others; int64 ``[B]``.
            count: l, how many videos; fewer where fewer are held.

        Returns:
            Item rows, those of the most similar first, padded with -1; int64 ``[B, min(count, V)]``.
        """
        rows = torch.arange(len(content), device=content.device)
        values = content.new_zeros(len(content), 0)
        found = own.new_zeros(len(content), 0)
        for start in range(0, len(self), _CHUNK):
            part = self.content[start : start + _CHUNK].float()
            similarity = content @ part.T
            inside = (own >= start) & (own < start + len(part))
            similarity[rows[inside], own[inside] - start] = -torch.inf
            # A chunk's best first: merging then touches no more than twice the count.
            best, place = similarity.topk(min(count, len(part)), dim=1)
            values, found = torch.cat([values, best], dim=1), torch.cat([found, place + start], dim=1)
            values, order = values.topk(min(count, values.shape[1]), dim=1)
            found = found.gather(1, order)
        counts = torch.isfinite(values) & content.any(1, keepdim=True)
        return torch.where(counts, self.music[found], PADDING)

    def sums(self, items: int) -> tuple[Tensor, Tensor]:
        """Summed content of the videos that took each item, float32 ``[N, width]``, and their number, ``[N]``."""
        total = torch.zeros(items, self.content.shape[1], device=self.content.device)
        for start in range(0, len(self), _CHUNK):
            part = slice(start, start + _CHUNK)
            total.index_add_(0, self.music[part], self.content[part].float())
        return total, torch.bincount(self.music, minlength=items)
