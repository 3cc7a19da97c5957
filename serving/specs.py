"""Whether the embeddings that are served are those a model was trained on."""

from collections.abc import Mapping

from contracts.embeddings import EmbeddingSpec, require_same_spec
from contracts.errors import BadInput
from contracts.snapshot import Snapshot

__all__ = ["require_served_specs"]


def require_served_specs(version: str, wanted: Mapping[str, EmbeddingSpec], served: Snapshot) -> None:
    """Refuse a version whose embeddings are not in the snapshot that the online store serves it with.

    Two revisions of one encoder may be served beside each other; either will do.

    Args:
        version: The registered version.
        wanted: Modality → the spec it was trained on.
        served: The snapshot.

    Raises:
        BadInput: A spec is not there; the message names the first field that differs.
    """
    for name, spec in sorted(wanted.items()):
        if spec in served.embeddings.values():
            continue
        subject = f"version {version} with snapshot {served.id} online"
        there = served.embeddings.get(name)
        if there is None:
            raise BadInput(
                f"{subject}: {name} embedding spec",
                found="none of that name",
                expected=f"{spec.encoder} of revision {spec.revision}",
                next_step="materialize a snapshot that has them, or train a model on the new spec",
            )
        require_same_spec(subject, there, spec)
