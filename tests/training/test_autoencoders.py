import math

import pytest
import torch

from training.autoencoders import Autoencoder, cross_modal_loss, draw_layers, reconstruction_loss


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def test_half_the_squared_error_of_those_present_by_hand() -> None:
    inputs, outputs = torch.tensor([[1.0, 2.0], [5.0, 5.0]]), torch.tensor([[0.0, 4.0], [9.0, 9.0]])
    # Sample 0 costs (1 + 4) / 2; sample 1 is not there; mean over both.
    assert float(reconstruction_loss(inputs, outputs, torch.tensor([True, False]))) == pytest.approx(1.25)
    # Now sample 1 costs (16 + 16) / 2.
    assert float(reconstruction_loss(inputs, outputs, torch.tensor([True, True]))) == pytest.approx((2.5 + 16) / 2)


def test_cross_modal_loss_by_hand() -> None:
    first = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    second = torch.tensor([[3.0, 1.0], [0.5, 1.0]])
    # Logits: own 3 and 2; sample 0 against the other 0.5, sample 1 against the other 2.
    expected = -(log_sigmoid(3) + log_sigmoid(-0.5) + log_sigmoid(2) + log_sigmoid(-2)) / 2
    loss = cross_modal_loss(first, second, torch.tensor([True, True]))
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    # The other direction: own 3 and 2; 0.5 x 1 + 1 x 0 stands at [1][0] there, 3 x 0 + 1 x 2 at [0][1].
    expected = -(log_sigmoid(3) + log_sigmoid(-2) + log_sigmoid(2) + log_sigmoid(-0.5)) / 2
    assert float(cross_modal_loss(second, first, torch.tensor([True, True]))) == pytest.approx(expected, rel=1e-6)


def test_the_most_negative_sample_is_the_least_alike_and_never_absent() -> None:
    first, second = torch.ones(3, 1), torch.tensor([[2.0], [0.5], [1.0]])
    everybody = cross_modal_loss(first, second, torch.tensor([True, True, True]))
    own = log_sigmoid(2) + log_sigmoid(0.5) + log_sigmoid(1)
    # Samples 0 and 2 meet the 0.5 of sample 1; that one itself meets the 1 of sample 2.
    assert float(everybody) == pytest.approx(-(own + 2 * log_sigmoid(-0.5) + log_sigmoid(-1)) / 3, rel=1e-6)
    without = cross_modal_loss(first, second, torch.tensor([True, False, True]))
    rest = log_sigmoid(2) + log_sigmoid(1) + log_sigmoid(-1) + log_sigmoid(-2)
    assert float(without) == pytest.approx(-rest / 3, rel=1e-6)


def test_a_sample_alone_has_no_opposite_and_a_finite_gradient() -> None:
    first = torch.tensor([[1.0], [4.0]], requires_grad=True)
    second = torch.tensor([[2.0], [1.0]], requires_grad=True)
    loss = cross_modal_loss(first, second, torch.tensor([True, False]))
    assert float(loss.detach()) == pytest.approx(-log_sigmoid(2) / 2, rel=1e-6)
    torch.autograd.backward(loss)
    assert first.grad is not None
    assert second.grad is not None
    # d/dx of -log sigmoid(2x) / 2 at x = 1; the absent sample has none.
    assert first.grad.flatten().tolist() == pytest.approx([-1 / (1 + math.exp(2)), 0])
    assert second.grad.isfinite().all()


def test_encoding_and_decoding_by_hand() -> None:
    coder = Autoencoder(2, 1, 1, decodes=True, rectified_output=True)
    with torch.no_grad():
        coder.encoder[0].copy_(torch.tensor([[1.0], [2.0]]))
        coder.encoder_biases[0].fill_(1)
        coder.encoder[1].fill_(3)
        coder.encoder_biases[1].fill_(-2)
        coder.decoder[0].fill_(0.5)
        coder.decoder[1].copy_(torch.tensor([[2.0, -2.0]]))
    # (1 + 2 x 1) + 1 = 4, 3 x 4 - 2 = 10; back: 5, then 10 and -10, which is rectified.
    code = coder.encode(torch.ones(1, 2))
    assert code.tolist() == [[10]]
    assert coder.decode(code).tolist() == [[10, 0]]
    # Below zero the first layer says nothing: 1 - 4 + 1 < 0, and 3 x 0 - 2 < 0.
    assert coder.encode(torch.tensor([[1.0, -2.0]])).tolist() == [[0]]
    signed = Autoencoder(2, 1, 1, decodes=True, rectified_output=False)
    signed.load_state_dict(coder.state_dict())
    assert signed.decode(code).tolist() == [[10, -10]]


def test_without_a_decoder_there_are_no_weights_of_one() -> None:
    names = [name for name, _ in Autoencoder(3, 2, 2, decodes=False, rectified_output=True).named_parameters()]
    assert names == ["encoder.0", "encoder.1", "encoder_biases.0", "encoder_biases.1"]


def test_layers_start_with_xaviers_deviation() -> None:
    coder = Autoencoder(100, 50, 10, decodes=True, rectified_output=True)
    draw_layers(coder, torch.Generator().manual_seed(0))
    assert float(coder.encoder[0].detach().std()) == pytest.approx(math.sqrt(2 / 150), rel=0.05)
    assert not coder.encoder_biases[0].any()
