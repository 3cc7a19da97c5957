"""Sound as 128 components: log-mel patches through a VGG-like network (Hershey et al. 2017, "VGGish")."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from contracts.embeddings import EmbeddingSpec
from feature_repo.encoders.device import exact_inference
from feature_repo.encoders.encoding import EncoderOptions, Entity, Fault, MediaItem, Vectors, load_items
from feature_repo.encoders.frames import read_sound
from feature_repo.encoders.weights import load_network, locate_weights, weights_revision

__all__ = ["BANDS", "SAMPLE_RATE", "Vggish", "VggishEncoding", "log_mel_patches", "mel_filterbank"]

SAMPLE_RATE = 16_000
BANDS = 64
_WINDOW = 400  # 25 ms
_HOP = 160  # 10 ms
_FFT = 512
_LOWEST_HZ, _HIGHEST_HZ = 125.0, 7500.0
_FLOOR = 0.01
_PATCH = 96  # frames, 0.96 s
_BLOCK_PATCHES = 32


class Vggish(nn.Module):
    """The network, with the parameter names of the published PyTorch conversion (``vggish-10086976``).

    Args:
        channels: Of the four stages; the last two have two convolutions.
        units: Of the two hidden layers.
    """

    width = 128

    def __init__(self, channels: tuple[int, int, int, int] = (64, 128, 256, 512), units: int = 4096) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 1
        for stage, outputs in enumerate(channels):
            for _ in range(1 if stage < 2 else 2):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(inputs * (_PATCH // 16) * (BANDS // 16), units),
            nn.ReLU(),
            nn.Linear(units, units),
            nn.ReLU(),
            nn.Linear(units, self.width),
            nn.ReLU(),
        )

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Log-mel patches ``[n, 96, 64]`` → ``[n, 128]``."""
        x = self.features(patches[:, None])
        x = x.permute(0, 2, 3, 1).flatten(1)  # channels last, as in the network the weights were converted from
        out: torch.Tensor = self.embeddings(x)
        return out


class VggishEncoding:
    """The mean over all patches of a clip's or a piece of music's sound. Sound below 0.975 s is padded with silence.

    Args:
        options: Weights and device.
        network: Another network of the same kind, for smaller ones.

    Raises:
        NotFound: There are no weights.
        BadInput: They are not this network's.
    """

    def __init__(self, options: EncoderOptions, network: Vggish | None = None) -> None:
        path = locate_weights(options.weights, "vggish")
        if network is None:
            with torch.device("meta"):
                network = Vggish()
        self._network = load_network(network, path, ("pproc.",)).to(options.device)
        self._revision = weights_revision(path)
        self._options = options

    def spec(self, entity: Entity) -> EmbeddingSpec:
        """What the vectors of music or videos are."""
        return EmbeddingSpec(
            entity=entity,
            modality="acoustic",
            encoder="vggish",
            revision=self._revision,
            preprocessing=f"mono {SAMPLE_RATE} Hz; magnitude of {_WINDOW}-sample Hann windows every {_HOP}, "
            f"FFT {_FFT}; {BANDS} HTK mel bands {_LOWEST_HZ:g}-{_HIGHEST_HZ:g} Hz; log(mel + {_FLOOR}); "
            f"patches of {_PATCH} frames, the last incomplete one dropped; rectified output without PCA; "
            "mean over patches",
            width=Vggish.width,
            dtype="float32",
            normalisation="none",
            available_from=self._options.available_from,
        )

    def encode(self, batch: Sequence[MediaItem]) -> tuple[Vectors, list[Fault | None]]:
        """Vectors ``[n, 128]`` and faults ``[n]``; equal whatever else is in the batch."""
        loaded, faults = load_items(_load, batch, self._options.threads)
        vectors = np.zeros((len(batch), Vggish.width), np.float32)
        for row, patches in enumerate(loaded):
            if patches is not None:
                vectors[row] = self._features(patches).mean(0)
        return vectors, faults

    def _features(self, patches: torch.Tensor) -> Vectors:
        """An item's own patches in chunks of one size: a batch of other items must not change the last bits."""
        device = torch.device(self._options.device)
        size = 1 if device.type == "cpu" else self._options.batch
        features = []
        with exact_inference():
            for start in range(0, len(patches), size):
                chunk = patches[start : start + size]
                padded = functional.pad(chunk, (0, 0, 0, 0, 0, size - len(chunk)))
                features.append(self._network(padded.to(device))[: len(chunk)].cpu())
        return torch.cat(features).numpy()


def _load(item: MediaItem) -> torch.Tensor:
    return log_mel_patches(read_sound(item.sound, SAMPLE_RATE))


def log_mel_patches(sound: npt.NDArray[np.float32]) -> torch.Tensor:
    """Mono sound at 16 kHz ``[samples]`` → patches ``[n, 96, 64]`` of log-mel frames, at least one.

    Less than the 15,600 samples of one patch are padded with silence.
    """
    shortest = _WINDOW + (_PATCH - 1) * _HOP
    samples = torch.from_numpy(np.array(sound, np.float32))
    samples = functional.pad(samples, (0, max(shortest - len(samples), 0)))
    frames = samples.unfold(0, _WINDOW, _HOP)
    frames = frames[: len(frames) // _PATCH * _PATCH]
    window, weights = torch.hann_window(_WINDOW, periodic=True), torch.from_numpy(mel_filterbank()).float()
    block = _BLOCK_PATCHES * _PATCH  # the spectra of an hour would take gigabytes
    mel = [
        torch.log(torch.fft.rfft(frames[start : start + block] * window, _FFT).abs() @ weights + _FLOOR)
        for start in range(0, len(frames), block)
    ]
    return torch.cat(mel).view(-1, _PATCH, BANDS)


@cache
def mel_filterbank() -> npt.NDArray[np.float64]:
    """Weights of the spectrum's bins in each band, ``[257, 64]``.

    The triangles are straight on the mel scale of HTK, 1127 ln(1 + f / 700), not in Hz; the constant bin is left out.
    """

    def mel(hertz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return 1127.0 * np.log1p(hertz / 700.0)

    bins = mel(np.linspace(0, SAMPLE_RATE / 2, _FFT // 2 + 1))[:, None]
    lowest, highest = mel(np.array([_LOWEST_HZ, _HIGHEST_HZ])).tolist()
    edges = np.linspace(lowest, highest, BANDS + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    weights: npt.NDArray[np.float64] = np.maximum(
        0, np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre))
    )
    weights[0] = 0
    return weights
