import pytest
import torch
from torch.nn.functional import multi_head_attention_forward

from training.attention import HistoryAttention, Places, Readings


@pytest.mark.parametrize("heads", [1, 4])
def test_equals_textbook_attention(heads: int) -> None:
    generator = torch.Generator().manual_seed(heads)
    attention = HistoryAttention(query=8, item=6, inner=8, out=8, heads=heads)
    with torch.no_grad():
        for matrix in attention.parameters():
            matrix.copy_(torch.randn(matrix.shape, generator=generator))
    queries, encodings = torch.randn(3, 8, generator=generator), torch.randn(10, 6, generator=generator)
    seen = [[4], [9, 0, 4, 7], [1, 1]]
    places = Places(
        row=torch.tensor([row for row, items in enumerate(seen) for _ in items]),
        item=torch.tensor([item for items in seen for item in items]),
    )

    found = attention(queries, encodings, places)

    for row, items in enumerate(seen):
        memory = encodings[items].unsqueeze(1)
        expected, _ = multi_head_attention_forward(
            queries[row].reshape(1, 1, 8), memory, memory, embed_dim_to_check=8, num_heads=heads,
            in_proj_weight=None, in_proj_bias=None, bias_k=None, bias_v=None, add_zero_attn=False, dropout_p=0.0,
            out_proj_weight=attention.out.T, out_proj_bias=None, use_separate_proj_weight=True,
            q_proj_weight=attention.query.T, k_proj_weight=attention.key.T, v_proj_weight=attention.value.T,
        )  # fmt: skip
        assert torch.allclose(found[row], expected.reshape(8), atol=1e-5)


def test_who_sees_nothing_gets_zeros_and_no_gradient_breaks() -> None:
    attention = HistoryAttention(query=4, item=4, inner=4, out=4, heads=2)
    with torch.no_grad():
        for matrix in attention.parameters():
            matrix.fill_(0.5)
    out = attention(torch.ones(3, 4), torch.ones(2, 4), Places(row=torch.tensor([1]), item=torch.tensor([0])))
    assert not out[0].any()
    assert not out[2].any()
    assert out[1].any()
    out.sum().backward()
    assert all(torch.isfinite(matrix.grad).all() for matrix in attention.parameters())


def filled(*, out: int = 4) -> HistoryAttention:
    attention = HistoryAttention(query=4, item=4, inner=4, out=out, heads=2)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for matrix in attention.parameters():
            matrix.copy_(torch.randn(matrix.shape, generator=generator))
    return attention


def test_a_reading_without_a_place_equals_a_history_without_it() -> None:
    attention, generator = filled(), torch.Generator().manual_seed(4)
    queries, encodings = torch.randn(2, 4, generator=generator), torch.randn(6, 4, generator=generator)
    places = Places(row=torch.tensor([0, 0, 0, 1]), item=torch.tensor([2, 5, 1, 3]))
    readings = Readings(row=torch.tensor([0, 0, 1, 0, 1]), without=torch.tensor([1, -1, -1, 0, 3]))

    found = attention(queries, encodings, places, readings)

    shorter = Places(row=torch.tensor([0, 0, 1, 1, 1, 2, 3, 3]), item=torch.tensor([2, 1, 2, 5, 1, 3, 5, 1]))
    expected = attention(queries[[0, 0, 1, 0, 1]], encodings, shorter)
    assert torch.allclose(found, expected, atol=1e-5)
    assert not found[4].any()


def test_a_place_that_holds_nearly_all_the_weight_leaves_no_noise_behind() -> None:
    attention = filled()
    encodings = torch.stack([torch.zeros(4), 60 * (attention.query @ attention.key.T).sum(0)]).detach()
    places = Places(row=torch.tensor([0, 0]), item=torch.tensor([0, 1]))
    out = attention(torch.ones(1, 4), encodings, places, Readings(torch.tensor([0]), torch.tensor([1])))
    assert torch.isfinite(out).all()
    assert out.abs().max() < 1e-3


def test_nobody_sees_an_item_that_is_not_present() -> None:
    attention, encodings = filled(), torch.randn(3, 4, generator=torch.Generator().manual_seed(5))
    queries, present = torch.ones(2, 4), torch.tensor([True, False, True])
    places = Places(row=torch.tensor([0, 0, 1]), item=torch.tensor([0, 1, 1]))
    out = attention(queries, encodings, places, present=present)
    assert torch.allclose(out[:1], attention(queries[:1], encodings, Places(torch.tensor([0]), torch.tensor([0]))))
    assert not out[1].any()
