"""Loading published weights: a local file or a hub id, checked name by name and shape by shape."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import NoReturn

import torch
from torch import nn

from contracts.errors import BadInput, NotFound, ServiceUnavailable
from contracts.files import file_sha256

__all__ = ["HUB", "load_network", "locate_weights", "weights_revision"]

HUB = "hub:"
"""Weights given as ``hub:OWNER/NAME`` or ``hub:OWNER/NAME@REVISION`` are fetched; anything else is a local path."""

_FILE = "model.safetensors"
_REVISION_DIGITS = 16
_EXPECTED = "a whole .safetensors file, or a state dict of tensors saved by torch"


def locate_weights(weights: str | None, encoder: str) -> Path:
    """The file with an encoder's weights; a hub's is fetched once and kept in the hub's own cache.

    Args:
        weights: A ``.safetensors`` or ``.pth`` file, a directory that holds ``model.safetensors``, or a hub id.
        encoder: Who asks.

    Raises:
        NotFound: None were given, or nothing is there.
        ServiceUnavailable: The hub cannot be reached and its cache has no copy.
    """
    if weights is None:
        raise NotFound(
            f"weights of {encoder}",
            found="none given",
            expected=f"a .safetensors or .pth file, or {HUB}OWNER/NAME",
            next_step=f"run `backbeat features encode {encoder} --weights PATH`",
        )
    if weights.startswith(HUB):
        return _fetch(weights.removeprefix(HUB), encoder)
    path = Path(weights)
    path = path / _FILE if path.is_dir() else path
    if not path.is_file():
        raise NotFound(
            f"weights {weights}",
            found=f"no {path}",
            expected=f"a .safetensors or .pth file, or {HUB}OWNER/NAME",
            next_step="correct --weights",
        )
    return path


def _fetch(address: str, encoder: str) -> Path:
    from huggingface_hub import hf_hub_download

    repository, _, revision = address.partition("@")
    try:
        return Path(hf_hub_download(repository, _FILE, revision=revision or None))
    except Exception as error:  # the hub's client raises many kinds, from several libraries
        raise ServiceUnavailable(
            f"weights {HUB}{address}",
            found=f"{type(error).__name__}: {_first_line(error)}",
            expected=f"a model of the hub with {_FILE}, reachable or in the local cache",
            next_step="fetch the file where there is a network, then run "
            f"`backbeat features encode {encoder} --weights PATH`",
        ) from error


def weights_revision(path: Path) -> str:
    """First digits of the SHA-256 of the file: what a spec's ``revision`` says."""
    return file_sha256(path)[:_REVISION_DIGITS]


def load_network(
    network: nn.Module, path: Path, optional: tuple[str, ...] = (), aliases: Mapping[str, str] | None = None
) -> nn.Module:
    """Put the weights of a file into a network, ready for inference.

    Args:
        network: On the ``meta`` device or another; its parameters are replaced.
        path: A ``.safetensors`` file, or a state dict saved by torch (read without unpickling objects).
        optional: Prefixes of names that the file may have and the network has no use for, such as a classifier's.
        aliases: Prefixes under which other publishers file a layer → the network's own. Their fully connected
            layers may be written as convolutions over the whole input.

    Raises:
        BadInput: The file cannot be read, or a name or shape in it is not the network's.
    """
    wanted = network.state_dict()
    state: dict[str, torch.Tensor] = {}
    for name, tensor in _read(path).items():
        if any(name.startswith(prefix) for prefix in optional):
            continue
        alias = next((alias for alias in aliases or {} if name.startswith(alias)), None)
        if aliases and alias is not None:
            name = aliases[alias] + name.removeprefix(alias)
            if name in wanted and tensor.numel() == wanted[name].numel():
                tensor = tensor.reshape(wanted[name].shape)
        state[name] = tensor
    for name in wanted:
        if name.endswith("num_batches_tracked"):  # a counter that inference ignores and old files lack
            state.setdefault(name, torch.zeros((), dtype=torch.int64))
    missing = [name for name in wanted if name not in state]
    surplus = sorted(set(state) - set(wanted))
    if missing or surplus:
        _refuse(
            path,
            f"{len(missing)} names missing ({', '.join(missing[:3]) or 'none'}) and "
            f"{len(surplus)} unknown ({', '.join(surplus[:3]) or 'none'})",
            f"the {len(wanted)} names of {type(network).__name__}'s state dict",
        )
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape:
            _refuse(path, f"{name} of shape {list(state[name].shape)}", f"shape {list(tensor.shape)}")
        if state[name].is_floating_point():
            state[name] = state[name].float()
            if not bool(torch.isfinite(state[name]).all()):
                _refuse(path, f"{name} with NaN or infinite values", "finite weights")
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def _read(path: Path) -> Mapping[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:  # torch's text advises to unpickle whatever is in the file
        _refuse(
            path, "a file that cannot be read as tensors alone: damaged, or with other objects in it", _EXPECTED, error
        )
    except Exception as error:  # damaged files fail in as many ways as there are bytes
        raise BadInput(
            f"weights {path}",
            found=f"a file that cannot be read ({_first_line(error)})",
            expected=_EXPECTED,
            next_step="fetch it again",
        ) from error
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        _refuse(path, f"a {type(state).__name__} that is no state dict", "a dict of names and tensors")
    return dict(state)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _refuse(path: Path, found: str, expected: str, cause: Exception | None = None) -> NoReturn:
    raise BadInput(
        f"weights {path}", found=found, expected=expected, next_step="give this encoder's published weights"
    ) from cause
