"""What a job of encoding is to do: the encoder with its weights, the options, and how they are stored with the job."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from contracts.clock import to_utc
from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput, unknown_name
from contracts.home import Home
from contracts.settings import Settings
from feature_repo.encoders.encoding import Encoder, EncoderOptions, Encoding, Entity
from feature_repo.encoders.items import Items
from feature_repo.encoders.registry import ENCODERS
from feature_repo.offline import current_snapshot

__all__ = ["PART_ITEMS", "EncodeWork", "encoder_for", "options_for"]

PART_ITEMS = 256
"""Items after which what is encoded becomes durable, unless time has come before."""


def encoder_for(name: str, entity: str | None) -> tuple[Encoder, Entity]:
    """An encoder by its name and what it is to be applied to; its first entity where none is named.

    Raises:
        NotFound: There is no such encoder, or it does not apply to the entity.
    """
    if name not in ENCODERS:
        raise unknown_name("encoder", name, ENCODERS, next_step="name one of them")
    encoder = ENCODERS[name]
    for known in encoder.entities:
        if entity in (None, known):
            return encoder, known
    raise unknown_name(f"entity of {name}", str(entity), encoder.entities, next_step="correct --entity")


@dataclass(frozen=True)
class EncodeWork:
    """What a job is to do, with the weights loaded."""

    encoder: Encoder
    encoding: Encoding
    entity: Entity
    spec: EmbeddingSpec
    options: EncoderOptions
    beside: bool
    part_items: int
    cluster: Settings | None = None
    """Settings that name the Ray cluster to encode on; in this process if None."""

    @classmethod
    def prepare(
        cls,
        home: Home,
        name: str,
        options: EncoderOptions,
        entity: str | None,
        beside: bool,
        part_items: int,
        cluster: Settings | None = None,
    ) -> Self:
        """Check what can be checked before the weights are read, which takes longest; then read them.

        Raises:
            NotFound: There is no such encoder, table, media directory or weights file.
            BadInput: An option or a path in the table cannot be.
        """
        encoder, kind = encoder_for(name, entity)
        Items(home, current_snapshot(home), kind, encoder)
        if options.frames is not None and (encoder.source != "images" or kind != "video"):
            always = encoder.source == "images"
            raise BadInput(
                f"option --frames of {name}",
                found=str(options.frames),
                expected="none: a post's clip is three screenshots" if always else f"none: it reads {encoder.source}",
                next_step="leave it out, or name --entity video" if always else "leave it out",
            )
        if encoder.fills and options.available_from is not None:
            raise BadInput(
                f"option --available-from of {name}",
                found=options.available_from.isoformat(),
                expected="none: it fills columns of rows that are known already",
                next_step="leave it out",
            )
        encoding = encoder.build(options)
        return cls(encoder, encoding, kind, encoding.spec(kind), options, beside, part_items, cluster)

    @classmethod
    def of_job(cls, settings: Settings, home: Home, parameters: Mapping[str, Any]) -> Self:
        """From the parameters that were stored with a job; the device is that of the settings now."""
        on_ray = parameters.get("on") == "ray"
        return cls.prepare(
            home,
            parameters["encoder"],
            options_for(settings, on_ray=on_ray, **parameters["options"]),
            parameters["entity"],
            parameters["beside"],
            parameters["part_items"],
            settings if on_ray else None,
        )

    def parameters(self) -> dict[str, Any]:
        """To be stored with the job; JSON."""
        known_from = self.options.available_from
        return {
            "encoder": self.encoder.name,
            "entity": self.entity,
            "beside": self.beside,
            "part_items": self.part_items,
            "on": "local" if self.cluster is None else "ray",
            "options": {
                "weights": self.options.weights and _absolute(self.options.weights),
                "frames": self.options.frames,
                "batch": self.options.batch,
                "available_from": None if known_from is None else known_from.isoformat(),
            },
        }


def options_for(
    settings: Settings,
    weights: str | None = None,
    frames: int | None = None,
    batch: int = 16,
    available_from: str | None = None,
    *,
    on_ray: bool = False,
) -> EncoderOptions:
    """Options of an encoder, with the device and the threads of the settings.

    On Ray the device is that of the tasks; here the weights are only looked at, on the CPU.

    Raises:
        BadInput: The device is not there, or the instant is none or has no time zone.
    """
    from feature_repo.encoders.device import prepare_torch

    if on_ray:
        settings = settings.model_copy(update={"device": "cpu"})
    known_from = None
    if available_from is not None:
        try:
            known_from = to_utc(datetime.fromisoformat(available_from))
        except ValueError:
            raise BadInput(
                "option --available-from",
                found=repr(available_from),
                expected="an instant such as 2026-01-31T12:00:00+00:00",
                next_step="correct it",
            ) from None
    threads = settings.threads or os.cpu_count() or 1
    return EncoderOptions(weights, str(prepare_torch(settings)), frames, batch, threads, known_from)


def _absolute(weights: str) -> str:
    from feature_repo.encoders.weights import HUB

    return weights if weights.startswith(HUB) else str(Path(weights).absolute())
