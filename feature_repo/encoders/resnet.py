"""ResNet-50 up to its pooled features (He et al. 2016), with the parameter names of torchvision's published weights."""

from typing import cast

import torch
from torch import nn
from torch.nn import functional

__all__ = ["RESNET50_BLOCKS", "ResNet"]

RESNET50_BLOCKS = (3, 4, 6, 3)
_EXPANSION = 4


class _Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions around a shortcut; the stride is in the 3x3 one, as in the published weights."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * _EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if stride != 1 or inputs != outputs
            else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        return functional.relu(self.bn3(self.conv3(x)) + shortcut)


class ResNet(nn.Module):
    """The network without its classifier.

    Args:
        blocks: Bottlenecks of the four stages.
        width: Channels of the first stage; 64 in the published network, which gives 2048 components.
    """

    def __init__(self, blocks: tuple[int, int, int, int] = RESNET50_BLOCKS, width: int = 64) -> None:
        super().__init__()
        self.width = width * 8 * _EXPANSION
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = width
        for stage, count in enumerate(blocks):
            channels = width * 2**stage
            layers = []
            for block in range(count):
                layers.append(_Bottleneck(inputs, channels, 2 if stage and not block else 1))
                inputs = channels * _EXPANSION
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """``[n, 3, height, width]`` → mean over the last stage's positions ``[n, 2048]``."""
        x = self.maxpool(functional.relu(self.bn1(self.conv1(pictures))))
        for stage in range(1, 5):
            x = cast(torch.Tensor, getattr(self, f"layer{stage}")(x))
        pooled: torch.Tensor = x.mean(dim=(2, 3))
        return pooled
