"""Which embeddings of a snapshot are in use, and which revisions are kept beside them."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from contracts.embeddings import EmbeddingSpec, require_same_spec
from contracts.errors import BadInput, unknown_name
from contracts.home import Home
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX
from feature_repo.offline import current_snapshot, read_table, write_snapshot
from feature_repo.raw_tables import RawTables

__all__ = ["name_for", "rewrite", "rewritten", "use_revision"]

_DIGITS = 8


def name_for(snapshot: Snapshot, spec: EmbeddingSpec, *, beside: bool) -> str:
    """The name under which a snapshot keeps embeddings of a spec.

    Args:
        snapshot: The snapshot.
        spec: What makes the embeddings.
        beside: Whether another revision may be added to the one in use.

    Raises:
        BadInput: The snapshot has the embeddings of another spec under that name.
    """
    for name, known in snapshot.embeddings.items():
        if known == spec:
            return name
    if spec.name not in snapshot.embeddings:
        return spec.name
    if beside:
        return f"{spec.name}@{spec.digest[:_DIGITS]}"
    try:
        require_same_spec(f"snapshot {snapshot.id}", spec, snapshot.embeddings[spec.name])
    except BadInput as error:
        raise BadInput(
            error.subject,
            found=error.found,
            expected=error.expected,
            next_step="encode with the expected encoder, or add --beside to keep both and choose later",
        ) from None
    return spec.name


def rewrite(
    home: Home, snapshot: Snapshot, tables: Mapping[str, pa.Table], embeddings: Mapping[str, EmbeddingSpec]
) -> tuple[Snapshot, bool]:
    """Write a snapshot that differs from another in some tables; the caller holds the home's writer lock.

    Args:
        home: Where to.
        snapshot: The one it is made from.
        tables: As of :func:`rewritten`.
        embeddings: All specs of the new snapshot.

    Returns:
        The snapshot, and whether it is new.
    """
    return write_snapshot(home, rewritten(home, snapshot, tables, embeddings))


def rewritten(
    home: Home, snapshot: Snapshot, tables: Mapping[str, pa.Table], embeddings: Mapping[str, EmbeddingSpec]
) -> RawTables:
    """A snapshot's tables with some of them replaced; nothing is written.

    Args:
        home: Where the snapshot is.
        snapshot: Its tables that are not given are kept.
        tables: Table → its new rows. An embedding table whose name has no spec any more is left out.
        embeddings: All specs that there are then.
    """
    kept = [
        name
        for name in snapshot.tables
        if name not in tables
        and (not name.startswith(EMBEDDING_PREFIX) or name.removeprefix(EMBEDDING_PREFIX) in embeddings)
    ]
    return RawTables(
        {name: read_table(home, snapshot, name) for name in kept} | dict(tables),
        dict(embeddings),
        snapshot.split,
        snapshot.dataset,
        snapshot.source,
        None if snapshot.media is None else Path(snapshot.media),
    )


def use_revision(home: Home, name: str, digest: str) -> tuple[Snapshot, EmbeddingSpec, EmbeddingSpec]:
    """Put another revision of some embeddings in use; the one that was is kept beside it.

    Args:
        home: Whose current snapshot; the caller holds its writer lock.
        name: Name of the embeddings, e.g. ``visual``.
        digest: First digits of the digest of the revision's spec.

    Returns:
        The new snapshot, the spec in use and the one that was.

    Raises:
        NotFound: The snapshot has no such embeddings, or no such revision of them.
        BadInput: The digits stand for more than one revision.
    """
    snapshot = current_snapshot(home)
    in_use = {key: spec for key, spec in snapshot.embeddings.items() if key == spec.name}
    if name not in in_use:
        raise unknown_name("embeddings", name, in_use, next_step="run `backbeat features status`")
    revisions = {spec.digest: key for key, spec in snapshot.embeddings.items() if spec.name == name}
    found = [full for full in revisions if full.startswith(digest)] if digest else []
    if not found:
        raise unknown_name(f"revision of {name}", digest, revisions, next_step="give one of these digests")
    if len(found) > 1:
        raise BadInput(
            f"revision {digest!r} of {name}",
            found=f"{len(found)} of that beginning: {', '.join(sorted(found))}",
            expected="one",
            next_step="give more digits",
        )
    before, after = in_use[name], snapshot.embeddings[revisions[found[0]]]
    if after == before:
        return snapshot, after, before
    other = f"{name}@{before.digest[:_DIGITS]}"
    specs = {key: spec for key, spec in snapshot.embeddings.items() if spec not in (before, after)}
    tables = {
        EMBEDDING_PREFIX + name: read_table(home, snapshot, EMBEDDING_PREFIX + revisions[after.digest]),
        EMBEDDING_PREFIX + other: read_table(home, snapshot, EMBEDDING_PREFIX + name),
    }
    written, _ = rewrite(home, snapshot, tables, specs | {name: after, other: before})
    return written, after, before
