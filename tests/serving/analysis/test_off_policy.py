"""Off-policy values against the truth of a world whose every chance is known."""

from dataclasses import replace

import numpy as np
import pytest

from contracts.errors import BadInput
from serving.analysis.off_policy import Served, doubly_robust, lift_over_served, predicted_rewards, snips

CONTEXTS, ITEMS, ROWS = 4, 6, 2_000
_WORLD = np.random.default_rng(0)
LOGGING, TARGET = (_WORLD.dirichlet(np.full(ITEMS, 3.0), CONTEXTS) for _ in range(2))
CHANCE = _WORLD.beta(2, 6, (CONTEXTS, ITEMS))
TRUTH = float((TARGET * CHANCE).sum(1).mean())
SERVED_TRUTH = float((LOGGING * CHANCE).sum(1).mean())
CUMULATED = LOGGING.cumsum(1)


def log(generator: np.random.Generator) -> tuple[Served, np.ndarray, np.ndarray]:
    """Impressions of the logging policy, four to a user, with the context and the item of each."""
    context = generator.integers(0, CONTEXTS, ROWS)
    item = (generator.random((ROWS, 1)) > CUMULATED[context]).sum(1).clip(max=ITEMS - 1)
    clicked = (generator.random(ROWS) < CHANCE[context, item]).astype(float)
    user = np.arange(ROWS) // 4
    return Served(clicked, LOGGING[context, item], TARGET[context, item], user), context, item


def test_intervals_of_snips_hold_the_truth_at_their_rate() -> None:
    generator = np.random.default_rng(1)
    held, served_mean = [], []
    for _ in range(1_000):
        served, _, _ = log(generator)
        found = snips(served, confidence=0.9)
        held.append(found.low <= TRUTH <= found.high)
        served_mean.append(served.reward.mean())
    assert np.mean(held) == pytest.approx(0.9, abs=0.03)
    assert abs(np.mean(served_mean) - TRUTH) > 0.005  # the mean of what was served is another number


def test_doubly_robust_is_right_with_wrong_predictions_and_narrower_with_right_ones() -> None:
    generator = np.random.default_rng(2)
    wrong = np.full((CONTEXTS, ITEMS), 0.9)
    held, wider = {"right": [], "wrong": []}, []
    for _ in range(400):
        served, context, item = log(generator)
        widths = {}
        for name, table in (("right", CHANCE), ("wrong", wrong)):
            mean_target = (TARGET * table).sum(1)[context]
            found = doubly_robust(served, table[context, item], mean_target, confidence=0.9)
            held[name].append(found.low <= TRUTH <= found.high)
            widths[name] = found.high - found.low
        wider.append(widths["wrong"] / widths["right"])
    assert np.mean(held["right"]) == pytest.approx(0.9, abs=0.045)
    assert np.mean(held["wrong"]) == pytest.approx(0.9, abs=0.045)
    assert np.mean(wider) > 1.3


def test_the_lift_over_what_was_served_knows_that_both_are_of_the_same_impressions() -> None:
    generator = np.random.default_rng(3)
    found = []
    for _ in range(400):
        served, _, _ = log(generator)
        contrast = lift_over_served(served, snips(served))
        found.append((contrast.value, contrast.standard_error))
    values, errors = np.array(found).T
    assert values.mean() == pytest.approx(np.log(TRUTH / SERVED_TRUTH), abs=4 * values.std() / 20 + 0.003)
    assert errors.mean() == pytest.approx(values.std(), rel=0.1)


def test_the_policy_that_served_has_its_own_mean() -> None:
    served, _, _ = log(np.random.default_rng(4))
    found = snips(replace(served, target=served.propensity))
    assert found.value == pytest.approx(served.reward.mean())
    assert found.effective_size == pytest.approx(ROWS)
    assert found.clipped_share == 0
    assert found.mean_weight == pytest.approx(1)
    assert lift_over_served(served, found).value == pytest.approx(0)


def test_what_was_never_tried_is_missed_by_the_weights() -> None:
    served, _, item = log(np.random.default_rng(8))
    assert snips(served).mean_weight == pytest.approx(1, abs=0.1)
    half = item < ITEMS // 2
    tried = Served(*(column[half] for column in (served.reward, served.propensity, served.target, served.user)))
    # As if a policy that only ever shows these had served: each is shown about twice as often.
    only = replace(tried, propensity=np.minimum(1, tried.propensity / LOGGING[:, : ITEMS // 2].sum(1).mean()))
    assert snips(only).mean_weight < 0.75


def test_clipping_is_said() -> None:
    served, _, _ = log(np.random.default_rng(5))
    free, clipped = snips(served), snips(served, clip=2.0)
    assert clipped.clip == 2
    assert clipped.clipped_share == pytest.approx((served.target / served.propensity > 2).mean())
    assert 0 < clipped.clipped_share < 0.5
    assert clipped.effective_size > free.effective_size
    assert abs(clipped.value - served.reward.mean()) < abs(free.value - served.reward.mean())


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("propensity", 0.0, r"propensity of impression 7: found 0.0, as one of 1 of 2000.*without a logged propensity"),
        ("propensity", np.nan, "propensity of impression 7: found nan"),
        ("propensity", 1.5, "more than 0 and at most 1"),
        ("target", -0.1, "target of impression 7"),
        ("reward", np.inf, "reward of impression 7"),
    ],
)
def test_what_cannot_be_used_is_named(column: str, value: float, message: str) -> None:
    served, _, _ = log(np.random.default_rng(6))
    broken = getattr(served, column).copy()
    broken[7] = value
    with pytest.raises(BadInput, match=message):
        replace(served, **{column: broken})


def test_a_policy_that_would_have_shown_nothing_of_it_has_no_value() -> None:
    served, _, _ = log(np.random.default_rng(7))
    with pytest.raises(BadInput, match="none of which the other policy would have shown"):
        snips(replace(served, target=np.zeros(ROWS)))


def test_predicted_rewards_are_of_other_users() -> None:
    """Users 0 and 2 are one half, 1 the other; with no strength the means are as they are."""
    reward = np.array([1.0, 0.0, 1.0, 0.0, 1.0])
    shown = np.array([0, 0, 1, 0, 1])
    other = np.array([1, 0, -1, 1, 0])
    user = np.array([0, 2, 2, 1, 1])
    predicted, of_other = predicted_rewards(reward, shown, other, user, strength=1e-9)
    assert predicted == pytest.approx([0, 0, 1, 0.5, 1], abs=1e-8)
    assert of_other == pytest.approx([1, 0, 0, 1, 0.5], abs=1e-8)


def test_doubly_robust_with_predicted_rewards_is_right_and_never_much_wider_than_snips() -> None:
    generator = np.random.default_rng(4)
    held, wider = [], []
    for _ in range(400):
        served, _, item = log(generator)
        # The other policy draws nothing: it always shows item 2.
        other = np.full(ROWS, 2)
        target = (item == 2).astype(float)
        aimed = replace(served, target=target)
        found = doubly_robust(aimed, *predicted_rewards(aimed.reward, item, other, aimed.user), confidence=0.9)
        held.append(found.low <= CHANCE[:, 2].mean() <= found.high)
        plain = snips(aimed, confidence=0.9)
        wider.append((found.high - found.low) / (plain.high - plain.low))
    assert np.mean(held) == pytest.approx(0.9, abs=0.045)
    assert np.mean(wider) < 1.1
