"""Encoding as tasks on a Ray cluster: batches out, the tables of :func:`encode_part` back, faults as rows of them.

The nodes read media and weights themselves, from where this machine does: both must lie on storage that all reach.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from contracts.cluster import Resources, cluster_of
from contracts.errors import Conflict
from contracts.settings import Settings
from feature_repo.encoders.encode_part import encode_part
from feature_repo.encoders.encoding import Encoder, EncoderOptions, Encoding, Entity, MediaItem

__all__ = ["Batch", "encode_on_node", "encoded_on_ray"]

Batch = list[tuple[int, MediaItem]]
"""Places in a table, and the items there."""


def encoded_on_ray(
    settings: Settings,
    encoder: Encoder,
    entity: Entity,
    digest: str,
    options: EncoderOptions,
    batches: Iterable[Batch],
) -> Iterator[tuple[Batch, pa.Table]]:
    """Encode batches on the cluster that the settings name; they come back in their order.

    A task takes as many CPUs as the setting ``threads`` says, and a GPU where ``device`` asks for one. A task whose
    worker dies is started again.

    Args:
        settings: Name the cluster and what a task takes of it.
        encoder: Which.
        entity: Of the items.
        digest: Of the spec that the vectors must have.
        options: As on this machine.
        batches: What to encode; drawn as tasks are started.

    Returns:
        Each batch and its table as ``PART``.

    Raises:
        Conflict: A node has other weights, or other code.
        ServiceUnavailable: The cluster does not answer, or its workers die.
    """
    with cluster_of(settings) as cluster:
        resources = Resources.of(settings, cluster)
        there = replace(options, device=resources.device, threads=resources.cpus)
        work = cluster.share((encoder, entity, digest, there))
        sent: deque[Batch] = deque()

        def tasks() -> Iterator[tuple[object, Sequence[MediaItem]]]:
            for batch in batches:
                sent.append(batch)
                yield work, [item for _, item in batch]

        for table in cluster.each(encode_on_node, tasks(), resources=resources):
            yield sent.popleft(), table


def encode_on_node(work: tuple[Encoder, Entity, str, EncoderOptions], items: Sequence[MediaItem]) -> pa.Table:
    """What a task does; a worker loads the weights for its first batch.

    Raises:
        Conflict: The weights or the code of this node make other vectors.
    """
    encoder, entity, digest, options = work
    encoding = _loaded(encoder, options, digest)
    found = encoding.spec(entity)
    if found.digest != digest:
        raise Conflict(
            f"encoder {encoder.name} on a node of the cluster",
            found=f"spec {found.digest} ({found.revision})",
            expected=f"spec {digest}, as where the command runs",
            next_step="install the same Backbeat on every node, and keep the weights where all nodes read them",
        )
    return encode_part(encoder, encoding, items, options.batch)


_LOADED: dict[tuple[str, str, EncoderOptions], Encoding] = {}


def _loaded(encoder: Encoder, options: EncoderOptions, digest: str) -> Encoding:
    key = encoder.name, digest, options
    if key not in _LOADED:
        _LOADED.clear()  # one encoder's weights at a time
        _LOADED[key] = encoder.build(options)
    return _LOADED[key]
