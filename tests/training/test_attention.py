import pytest
import torch
from torch.nn.functional import multi_head_attention_forward

from training.attention import HistoryAttention, Places


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
