from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from contracts.errors import BadInput
from feature_repo.frame import TrainingFrame
from training.post_features import PostFeatures

CONTEXTS = {
    f"{name}_{level}": width
    for name, width in {"textual": 2, "textual_handcrafted": 1, "visual": 3, "visual_handcrafted": 4}.items()
    for level in ("global", "recent")
}


@pytest.mark.parametrize(
    ("group", "parts", "levels"),
    [
        ("all", {"textual": 3, "visual": 7}, ("global", "recent")),
        ("textual", {"textual": 3}, ("global", "recent")),
        ("textual-handcrafted", {"textual": 1}, ("global", "recent")),
        ("textual-deep", {"textual": 2}, ("global", "recent")),
        ("visual", {"visual": 7}, ("global", "recent")),
        ("visual-handcrafted", {"visual": 4}, ("global", "recent")),
        ("visual-deep", {"visual": 3}, ("global", "recent")),
        ("global", {"textual": 3, "visual": 7}, ("global",)),
        ("contextual", {"textual": 3, "visual": 7}, ("recent",)),
    ],
)
def test_groups_are_the_rows_of_table_3(group: Any, parts: dict[str, int], levels: tuple[str, ...]) -> None:
    features = PostFeatures({"video": 1, **CONTEXTS}, group, "range")
    assert features.widths == parts
    assert features.levels == levels
    found = features({}, rows=5)
    assert {modality: tuple(values.shape) for modality, (values, _) in found.items()} == {
        modality: (5, len(levels), width) for modality, width in parts.items()
    }
    assert not any(there.any() for _, there in found.values())


def measured(frame: TrainingFrame, scaling: Any, group: Any = "textual") -> PostFeatures:
    contexts: dict[str, Any] = {
        "textual_global": np.array([[1, 5], [3, 5], [0, 0], [99, 99]], np.float32),
        "textual_recent": np.array([[1, 5], [5, 5], [0, 0], [99, 99]], np.float32),
        "textual_handcrafted_global": np.array([[2], [0], [0], [99]], np.float32),
    }
    # Row 3 belongs to no training request, row 2 to one whose user posted nothing.
    frame = replace(frame, contexts=contexts, train_context=np.array([0, 1, 1, 2]))
    features = PostFeatures({name: table.shape[1] for name, table in contexts.items()}, group, scaling)
    features.measure(frame)
    return features


def context(**rows: list[list[float]]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(values) for name, values in rows.items()}


def test_range_and_deviation_are_those_of_training_requests(frame: TrainingFrame) -> None:
    given = context(textual_global=[[1, 5], [3, 5]], textual_recent=[[5, 5], [2, 5]])
    values, there = measured(frame, "range", "textual-deep")(given, 2)["textual"]
    # The first component goes from 1 to 5; the second never changes.
    assert values.tolist() == [[[0, 0], [1, 0]], [[0.5, 0], [0.25, 0]]]
    assert there.tolist() == [True, True]
    values, _ = measured(frame, "standard", "textual-deep")(given, 2)["textual"]
    # 1, 3, 1, 5 have mean 2.5 and variance 2.75.
    assert values[0, 0].tolist() == pytest.approx([-1.5 / 2.75**0.5, 0])


def test_recent_is_padded_by_global_and_nothing_stays_nothing(frame: TrainingFrame) -> None:
    given = context(
        textual_global=[[3, 5], [3, 5], [0, 0]],
        textual_recent=[[5, 5], [0, 0], [0, 0]],
        textual_handcrafted_global=[[2.0], [0], [0]],
    )
    values, there = measured(frame, "standard")(given, 3)["textual"]
    assert torch.equal(values[1, 1], values[1, 0])
    assert not torch.equal(values[0, 1], values[0, 0])
    assert there.tolist() == [True, True, False]
    assert not values[2].any()
    # Handcrafted features that one user lacks are zeros after scaling, not a scaled zero.
    assert not values[1, :, 2].any()


def test_a_snapshot_without_the_features_is_named(frame: TrainingFrame) -> None:
    empty = PostFeatures({}, "visual", "range")
    with pytest.raises(
        BadInput, match=r"posts of snapshot blocks for features 'visual': found contexts none of 0 training requests; "
        r"expected means of posts, as the views user_social and user_context give them",
    ):  # fmt: skip
        empty.measure(frame)
    with pytest.raises(BadInput, match="found contexts textual_global of 1 training requests"):
        empty.measure(
            replace(frame, contexts={"textual_global": np.ones((2, 2), np.float32)}, train_context=np.array([1, 1]))
        )
