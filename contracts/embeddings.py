"""The specification that every embedding vector carries."""

import hashlib
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from contracts.errors import BadInput

__all__ = ["EmbeddingSpec", "require_same_spec"]

Modality = Literal["visual", "acoustic", "textual", "visual_handcrafted", "textual_handcrafted"]


class EmbeddingSpec(BaseModel):
    """Which encoder, revision and preprocessing made a vector.

    Vectors of different specs never meet in one index or one model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    entity: Literal["video", "music", "post"] = "video"
    """What a vector stands for."""
    modality: Modality
    encoder: str
    """Name of the encoder, e.g. ``sentence-bert``."""
    revision: str
    """Revision of its weights; ``published`` where the publisher of ready-made vectors names none."""
    preprocessing: str
    """How the raw media were prepared."""
    width: int = Field(ge=1)
    """Number of components."""
    dtype: Literal["float32", "float16"]
    """Type the vectors had when the encoder wrote them."""
    normalisation: Literal["none", "l2"]
    available_from: AwareDatetime | None = None
    """Nothing encoded with these weights could be known before: the end of their training. None where they are older
    than any data."""

    @property
    def name(self) -> str:
        """Key of a snapshot's embeddings: the modality, after the entity where that is not the video."""
        return self.modality if self.entity == "video" else f"{self.entity}_{self.modality}"

    @property
    def view(self) -> str:
        """Name of the feature view: one for each encoder revision."""
        return f"{self.entity}_{self.modality}_{self.digest[:8]}"

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that name this spec."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


def require_same_spec(subject: str, found: EmbeddingSpec, expected: EmbeddingSpec) -> None:
    """Refuse vectors of one spec where another is needed.

    Raises:
        BadInput: The specs differ; the message names the first field that does.
    """
    for field in EmbeddingSpec.model_fields:
        mine, theirs = getattr(found, field), getattr(expected, field)
        if mine != theirs:
            raise BadInput(
                f"{subject}: {expected.modality} embedding spec",
                found=f"{field} {mine!r}",
                expected=f"{field} {theirs!r}",
                next_step="encode again with the expected encoder, or train a model on the new spec",
            )
