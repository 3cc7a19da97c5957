"""Turning texts that a reader found into vectors, with the encoder that ships its own weights."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from contracts.console import progress
from contracts.embeddings import EmbeddingSpec

if TYPE_CHECKING:
    from feature_repo.encoders.encoding import Encoding

__all__ = ["EncodeTexts", "encode_texts", "sentence_encoder"]

_ENCODER = "sentence-bert"
_BATCH = 32

EncodeTexts = Callable[
    [Sequence[str], Sequence[str]], tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], EmbeddingSpec]
]
"""Ids and texts → numbers of those that have a vector ``[m]``, the vectors ``[m, width]`` and their spec."""


def sentence_encoder(device: str, source: str) -> EncodeTexts:
    """Sentence-BERT with the weights that its package ships; they are loaded when it is first used.

    Args:
        device: As in the settings.
        source: Which text it will be given.
    """

    def encode(
        ids: Sequence[str], texts: Sequence[str]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], EmbeddingSpec]:
        from feature_repo.encoders.device import resolve_device
        from feature_repo.encoders.encoding import EncoderOptions
        from feature_repo.encoders.registry import ENCODERS

        encoding = ENCODERS[_ENCODER].build(EncoderOptions(device=str(resolve_device(device)), batch=_BATCH))
        return encode_texts(encoding, ids, texts, source)

    return encode


def encode_texts(
    encoding: "Encoding", ids: Sequence[str], texts: Sequence[str], source: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], EmbeddingSpec]:
    """Encode the texts of videos.

    Args:
        encoding: A text encoder with its weights loaded.
        ids: Of the videos, ``[n]``.
        texts: Of each, ``[n]``.
        source: Which text that is; becomes part of the spec's preprocessing.

    Returns:
        The numbers of the videos that have a vector, ``[m]``; the vectors ``[m, width]``; what they are.
    """
    from feature_repo.encoders.encoding import MediaItem

    spec = encoding.spec("video")
    # Texts of like length go through the network together: the longest of a batch decides its cost.
    order = np.argsort([len(text) for text in texts], kind="stable")
    matrix, known = np.empty((len(texts), spec.width), np.float32), np.zeros(len(texts), bool)
    with progress("encoding texts", len(texts)) as advance:
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            items = [MediaItem("video", ids[row], text=texts[row]) for row in rows.tolist()]
            vectors, faults = encoding.encode(items)
            matrix[rows] = vectors
            known[rows] = [fault is None for fault in faults]
            advance(len(rows))
    kept = np.flatnonzero(known)
    return kept, matrix[kept], spec.model_copy(update={"preprocessing": f"{source}; {spec.preprocessing}"})
