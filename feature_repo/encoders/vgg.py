"""VGG-16 up to fc7 (Simonyan and Zisserman 2015), with the parameter names of torchvision's published weights."""

import torch
from torch import nn

__all__ = ["VGG16_PLAN", "Vgg"]

VGG16_PLAN: tuple[tuple[int, int], ...] = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of the 3x3 convolutions before each pooling."""


class Vgg(nn.Module):
    """The network up to the rectified output of its second fully connected layer, fc7.

    Args:
        plan: Channels and convolutions of each stage.
        width: Units of fc6 and fc7.
    """

    def __init__(self, plan: tuple[tuple[int, int], ...] = VGG16_PLAN, width: int = 4096) -> None:
        super().__init__()
        self.width = width
        layers: list[nn.Module] = []
        inputs = 3
        for channels, count in plan:
            for _ in range(count):
                layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
                inputs = channels
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        # The places of the dropouts are kept, so that the names are those of the published weights.
        self.classifier = nn.Sequential(
            nn.Linear(inputs * 49, width), nn.ReLU(), nn.Identity(), nn.Linear(width, width), nn.ReLU()
        )

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """``[n, 3, height, width]`` → fc7 ``[n, 4096]``."""
        x: torch.Tensor = self.classifier(self.avgpool(self.features(pictures)).flatten(1))
        return x
