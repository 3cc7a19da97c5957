"""Autoencoders of several modalities, tied together by what they say of the same sample (AMAE, section IV-B)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

__all__ = ["Autoencoder", "cross_modal_loss", "draw_layers", "reconstruction_loss"]


class Autoencoder(nn.Module):
    """Two encoding and two decoding layers (eqs. 2-3).

    Args:
        width: Of an input.
        inner: Of the layer between input and code, on both sides.
        code: Of a code.
        decodes: Whether there are decoding layers.
        rectified_output: Whether the last layer is rectified as all others are, so that it can say nothing negative.
    """

    def __init__(self, width: int, inner: int, code: int, *, decodes: bool, rectified_output: bool) -> None:
        super().__init__()
        self._rectified_output = rectified_output
        self.encoder, self.encoder_biases = _layers(width, inner, code)
        self.decoder, self.decoder_biases = _layers(code, inner, width) if decodes else _layers()

    def encode(self, inputs: Tensor) -> Tensor:
        """Codes of inputs ``[..., width]``, ``[..., code]``, no component below zero."""
        for matrix, bias in zip(self.encoder, self.encoder_biases, strict=True):
            inputs = torch.relu(inputs @ matrix + bias)
        return inputs

    def decode(self, codes: Tensor) -> Tensor:
        """Inputs as codes ``[..., code]`` remember them, ``[..., width]``."""
        inner, last = zip(self.decoder, self.decoder_biases, strict=True)
        hidden = torch.relu(codes @ inner[0] + inner[1])
        output = hidden @ last[0] + last[1]
        return torch.relu(output) if self._rectified_output else output


def _layers(*widths: int) -> tuple[nn.ParameterList, nn.ParameterList]:
    return (
        nn.ParameterList([nn.Parameter(torch.zeros(a, b)) for a, b in pairwise(widths)]),
        nn.ParameterList([nn.Parameter(torch.zeros(b)) for b in widths[1:]]),
    )


def draw_layers(module: nn.Module, generator: torch.Generator) -> None:
    """Start every matrix of a module from Xavier's normal and every bias from zero (Glorot and Bengio 2010)."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 2:
                parameter.copy_(nn.init.xavier_normal_(torch.empty(parameter.shape), generator=generator))
            else:
                parameter.zero_()


def reconstruction_loss(inputs: Tensor, outputs: Tensor, present: Tensor) -> Tensor:
    """Half the squared error of each sample, mean over samples (eq. 4, over the number of samples).

    Args:
        inputs: ``[B, width]``.
        outputs: What was decoded, ``[B, width]``.
        present: Which samples have an input, bool ``[B]``; the others cost nothing.
    """
    errors = (outputs - inputs).square().sum(1) / 2
    return (errors * present).mean()


def cross_modal_loss(first: Tensor, second: Tensor, present: Tensor) -> Tensor:
    """Codes of two modalities agree on a sample, and disagree with the most negative one (eqs. 5-8).

    For each sample, of the codes of the other modality in the batch the one least like its own stands against it
    (eq. 6 within the batch); a sample is not its own opposite.

    Args:
        first: Codes of the modality that chooses, ``[B, d]``.
        second: Codes of the modality chosen from, ``[B, d]``.
        present: Which samples have both, bool ``[B]``; the others cost nothing and are not chosen.

    Returns:
        A scalar, mean over samples; the second term is left out where no other sample is present.
    """
    logits = first @ second.T
    own = torch.eye(len(first), dtype=torch.bool, device=first.device)
    allowed = present.unsqueeze(0) & ~own
    lowest = logits.masked_fill(~allowed, torch.inf).min(dim=1).values if len(first) else logits.new_zeros(0)
    opposed = allowed.any(1)
    against = logsigmoid(-torch.where(opposed, lowest, 0.0)) * opposed
    return (-(logsigmoid(logits.diagonal()) + against) * present).mean()
