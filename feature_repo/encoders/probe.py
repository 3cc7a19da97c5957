"""Single items encoded again with exactly what made a table's vectors, to see whether they still come out the same."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from contracts.database import Database
from contracts.embeddings import EmbeddingSpec
from contracts.errors import BackbeatError, NotFound
from contracts.home import Home
from contracts.jobs import JobState, list_jobs
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from feature_repo.encoders.encode_part import encode_part
from feature_repo.encoders.encoding import Encoder, Encoding, MediaItem, Vectors
from feature_repo.encoders.items import Items, content_of
from feature_repo.encoders.parts import EncodedParts
from feature_repo.encoders.registry import ENCODERS
from feature_repo.encoders.work import encoder_for, options_for

__all__ = ["Reencoded", "Reencoder"]

_MOST_TRIES = 3
"""Sets of a job's options that are tried, the newest first: each may load weights."""


@dataclass(frozen=True)
class Reencoded:
    """One item as it is encoded now."""

    id: str
    vector: Vectors | None
    """float32 ``[width]``; None where the item could not be encoded."""
    content: str
    """Hash of its text and of its files' bytes; empty where they cannot be read."""
    encoded_before: bool | None
    """Whether the home's cache says that this very content was encoded before; None where it knows nothing of the
    item. False: text or files have changed since."""
    reason: str | None
    """Why there is no vector."""


class Reencoder:
    """What made the vectors of a spec, loaded again in this process; see :meth:`of_spec`."""

    def __init__(self, encoder: Encoder, encoding: Encoding, items: Items, parts: EncodedParts) -> None:
        self._encoder, self._encoding, self._items, self._parts = encoder, encoding, items, parts
        self._rows = {item_id: row for row, item_id in enumerate(items.ids)}

    @classmethod
    def of_spec(
        cls, settings: Settings, home: Home, database: Database, snapshot: Snapshot, spec: EmbeddingSpec
    ) -> Self:
        """Load the encoder with the options of the newest finished job whose vectors have this spec.

        Without such a job an encoder of the spec's name will do, if it needs no weights of the user's and yields the
        same spec: Sentence-BERT as packaged, the handcrafted features.

        Args:
            settings: Say on which device.
            home: Where the snapshot and its media are.
            database: With the jobs.
            snapshot: Whose items are to be encoded.
            spec: What the vectors claim to be.

        Raises:
            BackbeatError: The vectors were made elsewhere, weights or media are gone, or what is there now yields
                another spec. The message says which.
        """
        refusal: BackbeatError | None = None
        for encoder, given in _makers(settings, database, spec):
            try:
                encoding = encoder.build(options_for(settings, **given))
                _require_spec(encoding.spec(spec.entity), spec)
            except BackbeatError as error:
                refusal = refusal or error
                continue
            return cls(encoder, encoding, Items(home, snapshot, spec.entity, encoder), EncodedParts(home, spec))
        raise refusal or NotFound(
            f"encoder of {spec.name}",
            found=f"ready-made vectors of {spec.encoder!r}, which no job here has made",
            expected="vectors of `backbeat features encode`",
            next_step="encode the media here, to have them compared",
        )

    def has_input(self, item_id: str) -> bool:
        """Whether the entity's table names text or media of the item that this encoder reads."""
        return self._item(item_id) is not None

    def encode(self, item_id: str) -> Reencoded:
        """Encode one item; whatever is wrong with its media becomes the reason."""
        item = self._item(item_id)
        if item is None:
            return Reencoded(item_id, None, "", None, "nothing that this encoder reads")
        outside = self._items.link_out(item)
        if outside is not None:
            return Reencoded(item_id, None, "", None, self._said(outside.path, outside.reason))
        row = encode_part(self._encoder, self._encoding, [item], batch=1).to_pylist()[0]
        if row["reason"] is not None:
            return Reencoded(item_id, None, content_of(item), None, self._said(row["path"], row["reason"]))
        content = row["content"]
        before = (item_id, content) in self._parts.contents if item_id in self._parts.ids else None
        return Reencoded(item_id, np.asarray(row["vector"], np.float32), content, before, None)

    def _item(self, item_id: str) -> MediaItem | None:
        row = self._rows.get(item_id)
        return None if row is None else self._items.item(row)

    def _said(self, path: str | None, reason: str) -> str:
        return reason if path is None else f"{self._items.relative(path)}: {reason}"


def _makers(settings: Settings, database: Database, spec: EmbeddingSpec) -> Iterator[tuple[Encoder, dict[str, Any]]]:
    """Encoders and the options they are to be built with, likeliest first."""
    tried: set[str] = set()
    for job in list_jobs(database, "encode", state=JobState.DONE):
        given = job.parameters["options"]
        key = json.dumps([job.parameters["encoder"], given], sort_keys=True)
        if spec.view in job.subjects and job.parameters["encoder"] in ENCODERS and key not in tried:
            tried.add(key)
            yield encoder_for(job.parameters["encoder"], spec.entity)[0], given
            if len(tried) == _MOST_TRIES:
                return
    named = ENCODERS.get(spec.encoder)
    if not tried and named is not None and spec.entity in named.entities and not named.fills:
        known_from = spec.available_from
        yield named, {"available_from": None if known_from is None else known_from.isoformat()}


def _require_spec(found: EmbeddingSpec, wanted: EmbeddingSpec) -> None:
    if found == wanted:
        return
    field = next(name for name in EmbeddingSpec.model_fields if getattr(found, name) != getattr(wanted, name))
    raise NotFound(
        f"encoder {wanted.encoder} of {wanted.name}",
        found=f"{field} {getattr(found, field)!r}, now that it is loaded again",
        expected=f"{field} {getattr(wanted, field)!r}, which made the vectors",
        next_step="bring back the weights it had, or encode again",
    )
