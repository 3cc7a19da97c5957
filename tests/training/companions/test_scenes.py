"""Scene and action features, by hand."""

import numpy as np
import pytest

from contracts.errors import BadInput
from training.companions.scenes import scene_features

SCENES = np.array([[0.2, 0.8], [0.5, 0.5]], np.float32)
FRAMES = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], np.float32)
FLOW = np.array([[0.2, 0.6, 0.2], [0.5, 0.25, 0.25]], np.float32)


def test_equations_5_to_10_by_hand() -> None:
    found = scene_features(SCENES, FRAMES, FLOW)
    joint = [[0.2, 0.8, 0.1, 0.18, 0.04], [0.5, 0.5, 0.05, 0.025, 0.2]]
    assert found.joint == pytest.approx(np.array(joint), abs=1e-6)
    assert found.joint.dtype == np.float32
    assert (found.scene.tolist(), found.action.tolist()) == ([1, 0], [1, 2])
    assert found.scene_probability == pytest.approx([0.8, 0.5])
    assert found.action_probability == pytest.approx([0.18, 0.2])


def test_without_flow_the_frames_decide() -> None:
    found = scene_features(SCENES, FRAMES)
    assert found.joint == pytest.approx(np.concatenate([SCENES, FRAMES], axis=1))
    assert found.action.tolist() == [0, 2]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(BadInput, match=r"scenes: found row 1 sums to 3, its least value is -1; expected prob"):
        scene_features(np.array([[0.2, 0.8], [4.0, -1.0]], np.float32), FRAMES)
    with pytest.raises(BadInput, match=r"actions by frames: found an array of shape \[1, 3\]; .* each of 2 videos"):
        scene_features(SCENES, FRAMES[:1])
    with pytest.raises(BadInput, match=r"actions by flow: found 2 actions; expected the 3 actions"):
        scene_features(SCENES, FRAMES, SCENES)
    with pytest.raises(BadInput, match=r"scenes: found row 0 sums to nan"):
        scene_features(np.full((2, 2), np.nan, np.float32), FRAMES)
