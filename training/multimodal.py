"""Multimodal feature learning of IRIS (Liu 2022, section 3.1): one representation of an item from what it has."""

import torch
from torch import Tensor, nn

__all__ = ["MultimodalFeatures"]

_EPSILON = 1e-9


class MultimodalFeatures(nn.Module):
    """The common representation H of items, and its way back to every modality.

    Args:
        widths: Components of each modality.
        dimension: Width d of H.
        sharing: Whether there are knowledge-sharing units.
    """

    def __init__(self, widths: list[int], dimension: int, *, sharing: bool) -> None:
        super().__init__()
        d, views = dimension, len(widths)
        self._widths, self._sharing = widths, sharing
        self.first = nn.ParameterList([nn.Parameter(torch.zeros(width, d)) for width in widths])
        self.first_bias = nn.ParameterList([nn.Parameter(torch.zeros(d)) for _ in widths])
        self.own = nn.ParameterList([nn.Parameter(torch.zeros(d, d)) for _ in widths])
        self.own_bias = nn.ParameterList([nn.Parameter(torch.zeros(d)) for _ in widths])
        units = views * (views - 1) if sharing else 0
        self.shared = nn.ParameterList([nn.Parameter(torch.zeros(d, d)) for _ in range(units)])
        self.weight = None if sharing or not views else nn.Parameter(torch.zeros(views))
        self.back = nn.ParameterList([nn.Parameter(torch.zeros(d, width)) for width in widths])
        self.back_bias = nn.ParameterList([nn.Parameter(torch.zeros(width)) for width in widths])

    def forward(self, contents: list[Tensor], present: Tensor) -> Tensor:
        """H of n items.

        Args:
            contents: Of each modality ``[n, width]``; what is not present does not matter.
            present: Which item has which modality, bool ``[n, V]``.

        Returns:
            ``[n, d]``; zeros for an item without any modality.
        """
        masks = [has.unsqueeze(1) for has in present.unbind(1)]
        # A vector of length 1 has small components; brought to variance 1, they make features of a like size.
        firsts = [
            torch.relu(content * width**0.5 @ matrix + bias) * has
            for content, width, matrix, bias, has in zip(
                contents, self._widths, self.first, self.first_bias, masks, strict=True
            )
        ]
        shared = iter(self.shared)
        features = []
        for view, (matrix, bias) in enumerate(zip(self.own, self.own_bias, strict=True)):
            feature = firsts[view] @ matrix + bias
            if self._sharing:
                feature = feature + sum(other @ next(shared) for at, other in enumerate(firsts) if at != view)
            features.append(feature)
        weights = present.to(features[0].dtype)
        if self.weight is not None:
            weights = weights * torch.softmax(self.weight, dim=0)
        weights = weights / weights.sum(1, keepdim=True).clamp(min=_EPSILON)
        return (torch.stack(features, dim=1) * weights.unsqueeze(2)).sum(1)

    def reconstruction(self, common: Tensor, contents: list[Tensor], present: Tensor) -> Tensor:
        """Eqs. 3-4 with theta = tanh: squared error of the modalities that are there, mean over the items.

        Args:
            common: H, ``[n, d]``.
            contents: Of each modality ``[n, width]``.
            present: Which item has which modality, bool ``[n, V]``.
        """
        loss = common.new_zeros(())
        for view, content in enumerate(contents):
            error = torch.tanh(common @ self.back[view] + self.back_bias[view]) - content
            loss = loss + (error.square().sum(1) * present[:, view]).sum()
        return loss / max(1, len(common))
