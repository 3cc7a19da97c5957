"""Frames and images through a network of ImageNet: the visual embeddings of videos and posts."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from contracts.embeddings import EmbeddingSpec
from feature_repo.encoders.device import exact_inference
from feature_repo.encoders.encoding import EncoderOptions, Entity, Fault, MediaItem, Vectors, load_items
from feature_repo.encoders.frames import POST_FRAMES, item_frames
from feature_repo.encoders.resnet import ResNet
from feature_repo.encoders.vgg import Vgg
from feature_repo.encoders.weights import load_network, locate_weights, weights_revision

__all__ = ["VIDEO_FRAMES", "VisualEncoding", "prepare_pictures"]

VIDEO_FRAMES = 8
"""Uniform frames of a video, unless the user says otherwise."""

_SIDE = 224
_SHORTER = 256
_WIDEST = 4
_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)

_NETWORKS: dict[str, tuple[Callable[[], ResNet | Vgg], tuple[str, ...]]] = {
    "resnet50": (ResNet, ("fc.",)),
    "vgg16": (Vgg, ("classifier.6.", "head.")),
}
"""Encoder → the network, and the names of its classifier, which is not used."""

_ALIASES = {"vgg16": {"pre_logits.fc1.": "classifier.0.", "pre_logits.fc2.": "classifier.3."}}
"""Names in timm's copy of torchvision's weights, which is the one on the hub."""

_OUTPUTS = {"resnet50": "pooled features", "vgg16": "rectified fc7"}


class VisualEncoding:
    """ResNet-50 (2048 components) or VGG-16 (4096): the mean over an item's pictures.

    Videos: evenly spread frames, shorter side to 256, centre crop of 224. Posts: images and three screenshots, each
    scaled to 224 x 224 (AMAE, section III-C).

    Args:
        encoder: ``resnet50`` or ``vgg16``.
        options: Weights, device, frames and batch.
        network: Another network of the same kind, for smaller ones.

    Raises:
        NotFound: There are no weights.
        BadInput: They are not this network's.
    """

    def __init__(self, encoder: str, options: EncoderOptions, network: ResNet | Vgg | None = None) -> None:
        path = locate_weights(options.weights, encoder)
        make, classifier = _NETWORKS[encoder]
        if network is None:
            with torch.device("meta"):
                network = make()
        self._width = network.width
        self._network: nn.Module = load_network(network, path, classifier, _ALIASES.get(encoder)).to(options.device)
        self._encoder = encoder
        self._revision = weights_revision(path)
        self._options = options
        self._frames = options.frames or VIDEO_FRAMES

    def spec(self, entity: Entity) -> EmbeddingSpec:
        """What the vectors of videos or posts are."""
        if entity == "post":
            pictures, size = f"images and {POST_FRAMES} frames first to last", f"scaled to {_SIDE}x{_SIDE}"
        else:
            pictures = f"{self._frames} uniform frames first to last"
            size = f"shorter side {_SHORTER}, centre crop {_SIDE}"
        return EmbeddingSpec(
            entity=entity,
            modality="visual",
            encoder=self._encoder,
            revision=self._revision,
            preprocessing=f"{pictures}; upright RGB on white; {size} (bilinear, antialiased); "
            f"ImageNet mean and deviation; {_OUTPUTS[self._encoder]}; mean over pictures",
            width=self._width,
            dtype="float32",
            normalisation="none",
            available_from=self._options.available_from,
        )

    def encode(self, batch: Sequence[MediaItem]) -> tuple[Vectors, list[Fault | None]]:
        """Vectors ``[n, width]`` and faults ``[n]``; equal whatever else is in the batch."""
        loaded, faults = load_items(self._load, batch, self._options.threads)
        counts = np.array([0 if pictures is None else len(pictures) for pictures in loaded])
        vectors = np.zeros((len(batch), self._width), np.float32)
        if counts.sum():
            features = self._features(torch.cat([pictures for pictures in loaded if pictures is not None]))
            for row, (start, end) in enumerate(pairwise(np.concatenate([[0], np.cumsum(counts)]))):
                if end > start:
                    vectors[row] = features[start:end].mean(0)
        return vectors, faults

    def _load(self, item: MediaItem) -> torch.Tensor:
        return prepare_pictures(item_frames(item, self._frames), crop=item.entity != "post")

    def _features(self, pictures: torch.Tensor) -> Vectors:
        """In chunks of one size, the last one padded: libraries choose algorithms, and so the last bits, by size."""
        device = torch.device(self._options.device)
        size = 1 if device.type == "cpu" else self._options.batch
        features = []
        with exact_inference():
            for start in range(0, len(pictures), size):
                chunk = pictures[start : start + size]
                padded = functional.pad(chunk, (0, 0, 0, 0, 0, 0, 0, size - len(chunk)))
                features.append(self._network(padded.to(device))[: len(chunk)].cpu())
        return torch.cat(features).numpy()


def prepare_pictures(pictures: Sequence[npt.NDArray[np.uint8]], *, crop: bool) -> torch.Tensor:
    """RGB pictures ``[height, width, 3]`` as the networks want them: ``[n, 3, 224, 224]``.

    Args:
        pictures: Of any sizes.
        crop: Keep the proportions and cut out the centre, instead of scaling to the square.
    """
    return torch.stack([_prepare(torch.from_numpy(np.array(picture)), crop) for picture in pictures])


def _prepare(picture: torch.Tensor, crop: bool) -> torch.Tensor:
    height, width = picture.shape[:2]
    size = [_SIDE, _SIDE]
    if crop:
        longest = _WIDEST * min(height, width)  # a strip would be scaled to a huge picture, of which little is kept
        top, left = max(height - longest, 0) // 2, max(width - longest, 0) // 2
        picture = picture[top : top + longest, left : left + longest]
        height, width = picture.shape[:2]
        shorter = min(height, width)
        size = [int(_SHORTER * height / shorter), int(_SHORTER * width / shorter)]
    scaled = functional.interpolate(
        picture.permute(2, 0, 1)[None].float() / 255, size=size, mode="bilinear", antialias=True, align_corners=False
    )[0]
    top, left = (size[0] - _SIDE) // 2, (size[1] - _SIDE) // 2
    return (scaled[:, top : top + _SIDE, left : left + _SIDE] - _MEAN) / _STD
