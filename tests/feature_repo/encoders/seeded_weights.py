"""Weights that the tests make."""

import torch


def seeded(network: torch.nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dict with values of a size that keeps the activations in range."""
    draw = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=torch.int64)
        elif name.endswith("running_var"):
            state[name] = torch.rand(tensor.shape, generator=draw) + 0.5
        else:
            spread = (2 / max(tensor[0].numel(), 1)) ** 0.5 if tensor.dim() > 1 else 0.2
            state[name] = torch.randn(tensor.shape, generator=draw) * spread
            if tensor.dim() == 1 and name.endswith("weight"):
                state[name] += 1
    return state
