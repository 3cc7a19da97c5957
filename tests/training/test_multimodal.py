"""The common representation, by hand."""

import math

import pytest
import torch

from training.multimodal import MultimodalFeatures


def features(*, sharing: bool) -> MultimodalFeatures:
    """Two modalities of one component, d = 1: first layers 2x and 3x, own maps 1 and 10, sharing 100 and 1000."""
    module = MultimodalFeatures([1, 1], 1, sharing=sharing)
    values = {"first.0": 2, "first.1": 3, "own.0": 1, "own.1": 10, "shared.0": 100, "shared.1": 1000}
    values |= {"back.0": 0.5, "back.1": -0.25, "back_bias.1": 0.125}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.fill_(values.get(name, 0))
        if module.weight is not None:
            module.weight.copy_(torch.tensor([0.0, math.log(3)]))
    return module


CONTENTS = [torch.tensor([[1.0], [1.0], [1.0], [-1.0]]), torch.tensor([[2.0], [2.0], [2.0], [2.0]])]
PRESENT = torch.tensor([[True, True], [True, False], [False, False], [True, True]])


def test_units_share_what_the_other_modalities_hold() -> None:
    # Both: firsts 2 and 6; own + shared 2 + 600 and 60 + 2000; their mean. One: its own alone. None: zero.
    # The last item's first component is negative and stops at the rectifier: 600 and 60, mean 330.
    common = features(sharing=True)(CONTENTS, PRESENT)
    assert common.flatten().tolist() == pytest.approx([(602 + 2060) / 2, 2, 0, (600 + 60) / 2])


def test_without_units_modalities_are_summed_with_one_weight_each() -> None:
    # Softmax of 0 and log 3: a quarter and three quarters; whoever lacks one modality has all weight on the other.
    common = features(sharing=False)(CONTENTS, PRESENT)
    assert common.flatten().tolist() == pytest.approx([0.25 * 2 + 0.75 * 60, 2, 0, 0.75 * 60])


def test_the_reconstruction_by_hand() -> None:
    # Equation 4 with tanh, equation 3 over what is there, mean over the items.
    module, common = features(sharing=True), torch.tensor([[1.0], [2.0]])
    loss = module.reconstruction(common, [torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [5.0]])], PRESENT[:2])
    by_hand = (math.tanh(0.5) - 1) ** 2 + math.tanh(-0.125) ** 2 + math.tanh(1.0) ** 2
    assert loss.item() == pytest.approx(by_hand / 2)


def test_wide_vectors_of_length_one_are_brought_to_variance_one() -> None:
    module = MultimodalFeatures([4], 1, sharing=True)
    with torch.no_grad():
        module.first[0].fill_(1)
        module.own[0].fill_(1)
    assert module([torch.full((1, 4), 0.5)], torch.tensor([[True]])).item() == pytest.approx(4.0)
