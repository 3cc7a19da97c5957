"""Scene and action features of videos (IRIS, Liu 2022, section 3.2), from what classifiers say of them.

No classifier is here: the paper names none that could be had. Any that gives a probability for each scene, and for
each action from frames (RGB) and from optical flow, will do.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.errors import BadInput

__all__ = ["SceneFeatures", "scene_features"]

Probabilities = npt.NDArray[np.float32]

_TOLERANCE = 1e-3


class SceneFeatures(NamedTuple):
    """Of n videos."""

    joint: Probabilities
    """Eq. 10: all scenes, then all actions, ``[n, S + A]``."""
    scene: npt.NDArray[np.int64]
    """The most probable scene, ``[n]``."""
    scene_probability: Probabilities
    """Eq. 5, ``[n]``."""
    action: npt.NDArray[np.int64]
    """The most probable action, ``[n]``."""
    action_probability: Probabilities
    """Eq. 7, ``[n]``; a product where there is optical flow, so no probability by itself."""


def scene_features(scenes: Probabilities, frames: Probabilities, flow: Probabilities | None = None) -> SceneFeatures:
    """Eqs. 5-10: keep what is said of every scene and action, not of the most probable alone.

    Args:
        scenes: Probability of each scene, ``[n, S]`` (eq. 6).
        frames: Probability of each action by the frames, ``[n, A]``.
        flow: By optical flow, ``[n, A]``; the two are multiplied (eq. 8). Without it the frames alone count.

    Raises:
        BadInput: Rows are no probabilities, or the parts do not fit each other.
    """
    parts = {"scenes": scenes, "actions by frames": frames} | ({} if flow is None else {"actions by flow": flow})
    for name, part in parts.items():
        _require_probabilities(name, part, len(scenes))
    if flow is not None and flow.shape != frames.shape:
        raise BadInput(
            "actions by flow",
            found=f"{flow.shape[1]} actions",
            expected=f"the {frames.shape[1]} actions that the frames were classified by",
            next_step="use two classifiers of the same actions",
        )
    actions = frames if flow is None else frames * flow
    return SceneFeatures(
        joint=np.concatenate([scenes, actions], axis=1, dtype=np.float32),
        scene=scenes.argmax(1),
        scene_probability=scenes.max(1),
        action=actions.argmax(1),
        action_probability=actions.max(1),
    )


def _require_probabilities(name: str, part: Probabilities, videos: int) -> None:
    if part.ndim != 2 or len(part) != videos or part.shape[1] == 0:
        raise BadInput(
            name,
            found=f"an array of shape {list(part.shape)}",
            expected=f"a row of probabilities for each of {videos:,} videos",
            next_step="classify the same videos by scene and by action",
        )
    wrong = ~((part >= 0).all(1) & (np.abs(part.sum(1) - 1) <= _TOLERANCE))
    if wrong.any():
        row = int(wrong.argmax())
        raise BadInput(
            name,
            found=f"row {row} sums to {part[row].sum():g}, its least value is {part[row].min():g}",
            expected="probabilities that sum to 1",
            next_step="take the classifier's softmax, not its logits",
        )
