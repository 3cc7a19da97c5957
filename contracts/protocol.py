"""How a model was judged. Metrics with different fingerprints are never compared silently."""

import hashlib

from pydantic import BaseModel, ConfigDict

__all__ = ["ProtocolFingerprint"]


class ProtocolFingerprint(BaseModel):
    """Everything that must be equal for two metrics to be comparable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    snapshot: str
    """Id of the data snapshot."""
    split: str
    """How it was cut."""
    candidates: str
    """Which items a held-out item is ranked against."""
    cutoffs: tuple[int, ...]
    """The k of Recall@k and its like."""
    seeds: tuple[int, ...] = ()
    """Seeds of the protocol itself (sampled candidates, random splits); empty where nothing is drawn."""

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that name this protocol."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]
