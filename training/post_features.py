"""What a user posted, as models take it in: over all time and of the last day (AMAE, sections III-D and V-C)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from contracts.errors import BadInput

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["FeatureGroup", "FeatureScaling", "PostFeatures"]

FeatureGroup = Literal[
    "all",
    "textual",
    "textual-handcrafted",
    "textual-deep",
    "visual",
    "visual-handcrafted",
    "visual-deep",
    "global",
    "contextual",
]
"""Rows of AMAE's Table III: handcrafted or deep features of one modality, or of both what is global or contextual."""

FeatureScaling = Literal["range", "standard"]
"""``range``: each component from 0 to 1 over the training requests. ``standard``: mean 0 and deviation 1 over them."""

_LEVELS = ("global", "recent")
_HANDCRAFTED = "_handcrafted"


class PostFeatures(nn.Module):
    """Picks, scales and joins the contexts of a request that tell of its user's posts.

    A context ``<features>_global`` is the mean over all posts of the user, ``<features>_recent`` that of the last 24
    hours; a row of zeros says that there is none. Deep and handcrafted features of a modality stand side by side. A
    recent mean that is not there is padded by the global one.

    Args:
        contexts: Name → width of all that a request may bring.
        group: Which features to take.
        scaling: What is done to each component.
    """

    def __init__(self, contexts: Mapping[str, int], group: FeatureGroup, scaling: FeatureScaling) -> None:
        super().__init__()
        self._group, self._scaling = group, scaling
        self.levels = {"global": _LEVELS[:1], "contextual": _LEVELS[1:]}.get(group, _LEVELS)
        modality, _, kind = group.partition("-")
        self.parts: dict[str, tuple[str, ...]] = {}
        for name in sorted({context.rpartition("_")[0] for context in contexts if context.endswith(_LEVELS)}):
            of, handcrafted = name.removesuffix(_HANDCRAFTED), name.endswith(_HANDCRAFTED)
            wanted = modality in (of, "all", "global", "contextual")
            if wanted and kind in ("", "handcrafted" if handcrafted else "deep"):
                self.parts[of] = (*self.parts.get(of, ()), name)
        self._widths = {
            name: contexts[next(f"{name}_{level}" for level in _LEVELS if f"{name}_{level}" in contexts)]
            for names in self.parts.values()
            for name in names
        }
        for name, width in self._widths.items():
            self.register_buffer(f"{name}_offset", torch.zeros(width))
            self.register_buffer(f"{name}_scale", torch.ones(width))

    @property
    def widths(self) -> dict[str, int]:
        """Modality → number of components."""
        return {modality: sum(self._widths[name] for name in names) for modality, names in self.parts.items()}

    def measure(self, frame: "TrainingFrame") -> None:
        """Take the scaling from what the training requests brought.

        Raises:
            BadInput: None of the features that are to be taken is there.
        """
        rows = np.unique(frame.train_context) if frame.train_context is not None else np.empty(0, np.int64)
        if not self.parts or not len(rows):
            raise BadInput(
                f"posts of snapshot {frame.snapshot.id} for features {self._group!r}",
                found=f"contexts {', '.join(sorted(frame.contexts)) or 'none'} of {len(rows):,} training requests",
                expected="means of posts, as the views user_social and user_context give them",
                next_step="ingest data with listens and encoded posts and train on `amae_v1`, or take other features",
            )
        for name in self._widths:
            names = [f"{name}_{level}" for level in _LEVELS if f"{name}_{level}" in frame.contexts]
            values = np.concatenate([frame.contexts[each][rows] for each in names])
            values = values[(values != 0).any(1)].astype(np.float64)
            if len(values) == 0:
                continue
            if self._scaling == "range":
                offset, width = values.min(0), np.ptp(values, axis=0)
            else:
                offset, width = values.mean(0), values.std(0)
            # What never changes says nothing; it is not divided by zero.
            self.get_buffer(f"{name}_offset").copy_(torch.from_numpy(offset))
            self.get_buffer(f"{name}_scale").copy_(torch.from_numpy(1 / np.where(width > 0, width, 1)))

    def forward(self, context: Mapping[str, Tensor], rows: int) -> dict[str, tuple[Tensor, Tensor]]:
        """Features of B requests.

        Args:
            context: Name → ``[B, width]``; one that is not there counts as rows of zeros.
            rows: B.

        Returns:
            Modality → values ``[B, L, width]`` of the L levels taken, zeros where there are none, and whether the user
            posted anything of the kind, bool ``[B]``.
        """
        return {modality: self._joined(names, context, rows) for modality, names in self.parts.items()}

    def _joined(self, names: tuple[str, ...], context: Mapping[str, Tensor], rows: int) -> tuple[Tensor, Tensor]:
        scaled, present = [], []
        for name in names:
            offset, scale = self.get_buffer(f"{name}_offset"), self.get_buffer(f"{name}_scale")
            blank = offset.new_zeros(rows, len(offset))
            values = torch.stack([context.get(f"{name}_{level}", blank) for level in self.levels], dim=1)
            there = (values != 0).any(2, keepdim=True)
            if len(self.levels) > 1:
                values = torch.where(there, values, values[:, :1])
                there = (values != 0).any(2, keepdim=True)
            scaled.append((values - offset) * scale * there)
            present.append(there.flatten(1).any(1))
        return torch.cat(scaled, dim=2), torch.stack(present).any(0)
