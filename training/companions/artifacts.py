"""Companions on disk: a directory with its config as JSON and tensors as safetensors; nothing is pickled."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import safetensors.torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from contracts.errors import BadInput, NotFound
from contracts.files import directory_written_whole

__all__ = ["read_companion", "write_companion"]

_CONFIG, _TENSORS = "config.json", "tensors.safetensors"
_REMEDY = "fit it again, or copy the directory whole"

Config = TypeVar("Config", bound=BaseModel)


def write_companion(
    directory: Path, config: BaseModel, tensors: Mapping[str, Tensor], texts: Mapping[str, str] | None = None
) -> None:
    """Write a directory whole or not at all.

    Args:
        directory: To be made.
        config: Of the companion.
        tensors: Everything it has learnt.
        texts: File name → content, of what has a text format of its own.
    """
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with directory_written_whole(directory) as new:
        (new / _CONFIG).write_text(config.model_dump_json(indent=2) + "\n")
        (new / _TENSORS).write_bytes(safetensors.torch.save(held))
        for name, text in (texts or {}).items():
            (new / name).write_text(text)


def read_companion(
    directory: Path, config: type[Config], texts: tuple[str, ...] = ()
) -> tuple[Config, dict[str, Tensor], dict[str, str]]:
    """What :func:`write_companion` wrote: config, tensors and texts.

    Raises:
        NotFound: A file is missing.
        BadInput: A file is damaged, or its config is of another companion.
    """
    for name in (_CONFIG, _TENSORS, *texts):
        if not (directory / name).is_file():
            raise NotFound(
                directory / name, found="no such file", expected="a companion's directory", next_step=_REMEDY
            )
    try:
        settings = config.model_validate(json.loads((directory / _CONFIG).read_text()))
        tensors: dict[str, Tensor] = safetensors.torch.load((directory / _TENSORS).read_bytes())
    except (ValidationError, ValueError, safetensors.SafetensorError) as error:
        raise BadInput(
            directory,
            found=str(error).splitlines()[0],
            expected=f"{config.__name__} and tensors in the safetensors format",
            next_step=_REMEDY,
        ) from None
    return settings, tensors, {name: (directory / name).read_text() for name in texts}
