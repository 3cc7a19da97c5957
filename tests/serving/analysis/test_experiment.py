"""A simulated experiment, from impressions to a verdict."""

import numpy as np
import pytest

from contracts.verdict import Guardrail, Rule
from serving.analysis.experiment import Traffic, measure, measure_service
from serving.analysis.interleaving import preference
from serving.analysis.off_policy import Served, lift_over_served, snips
from serving.analysis.outcomes import Impressions
from serving.analysis.sequences import normal_sequence
from serving.analysis.verdict import decide

RULE = Rule(
    minimum_effect=0.05,
    guardrails=(
        Guardrail(metric="errors", margin=0.01, harm="higher"),
        Guardrail(metric="latency_p99", margin=0.5, harm="higher"),
        Guardrail(metric="watch_time", margin=0.2, harm="lower"),
    ),
)


def experiment(lifted: float, seed: int, users: int = 4_000, each: int = 40) -> tuple[Impressions, np.ndarray]:
    """Users with a taste of their own, half of them in either arm, and their clicks per impression from before."""
    generator = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), each)
    arm = (np.arange(users) % 2)[user]
    taste = generator.beta(4, 16, users)
    clicked = generator.random(users * each) < taste[user] * np.where(arm == 1, 1 + lifted, 1)
    watched = np.where(clicked, generator.exponential(10, users * each), 0)
    never = np.zeros(users * each, dtype=bool)
    shown = Impressions(arm, user, clicked, clicked & (generator.random(len(user)) < 0.1), never, watched, never)
    before = generator.binomial(50, taste) / 50
    before[::10] = np.nan
    return shown, before


def traffic(generator: np.random.Generator, errors: int = 3, slower: float = 1.0) -> Traffic:
    return Traffic(10_000, errors, slower * generator.gamma(4, 2, 10_000 - errors))


def test_a_better_version_is_promoted_and_its_past_makes_it_sooner() -> None:
    generator = np.random.default_rng(0)
    shown, before = experiment(0.15, seed=1)
    champion, challenger = traffic(generator), traffic(generator)
    plain = measure(RULE, shown, champion, challenger)
    adjusted = measure(RULE, shown, champion, challenger, {"ctr": before})
    assert set(plain) == {"ctr", "errors", "latency_p99", "watch_time"}
    assert adjusted["ctr"].high - adjusted["ctr"].low < 0.9 * (plain["ctr"].high - plain["ctr"].low)
    for found in (plain["ctr"], adjusted["ctr"]):
        assert found.low < 0.15 < found.high
        assert found.units == 2_000
        assert found.alpha == pytest.approx(0.05 / 4)
    verdict = decide(RULE, adjusted, 10_000)
    assert (verdict.decision, verdict.reason) == ("promote", "better"), verdict.sentence


def test_a_slow_or_failing_version_is_rejected() -> None:
    generator = np.random.default_rng(2)
    shown, _ = experiment(0.15, seed=1)
    for bad in (traffic(generator, slower=3.0), traffic(generator, errors=400)):
        verdict = decide(RULE, measure(RULE, shown, traffic(generator), bad), 10_000)
        assert verdict.reason == "guardrail_broken", verdict.sentence


def test_what_says_nothing_yet_is_left_out() -> None:
    generator = np.random.default_rng(3)
    shown, _ = experiment(0.0, seed=4, users=200)
    rule = Rule(objective="follow", guardrails=(Guardrail(metric="errors", margin=0.01, harm="higher"),))
    found = measure(rule, shown, traffic(generator), traffic(generator))
    assert set(found) == {"errors"}
    assert decide(rule, found, 10_000).sentence == "Hold: follow not measured."
    assert measure_service(RULE, traffic(generator), Traffic(0, 0, np.empty(0))) == {}
    only_failed = Traffic(50, 50, np.empty(0))
    assert set(measure_service(RULE, traffic(generator), only_failed)) == {"errors"}


def test_a_shadow_is_judged_by_what_it_would_have_earned() -> None:
    """Nobody saw its lists: the objective is the off-policy lift, the guardrails are its own errors and latency."""
    generator = np.random.default_rng(5)
    users, each = 1_000, 20
    good = generator.random(users * each) < 0.5
    clicked = generator.random(users * each) < np.where(good, 0.3, 0.2)
    target = np.where(good, 0.8, 0.2)
    served = Served(clicked.astype(float), np.full(len(good), 0.5), target, np.repeat(np.arange(users), each))
    rule = Rule(minimum_effect=0.05)
    found = measure_service(rule, traffic(generator), traffic(generator))
    found["ctr"] = normal_sequence(lift_over_served(served, snips(served)), rule.minimum_effect, rule.alpha)
    assert found["ctr"].low < 0.28 / 0.25 - 1 < found["ctr"].high
    verdict = decide(rule, found, 10_000)
    assert verdict.decision == "promote", verdict.sentence


def test_a_preference_of_interleaved_lists_is_an_objective_too() -> None:
    generator = np.random.default_rng(6)
    users, each = 1_000, 10
    clicks = generator.poisson([0.5, 0.7], (users * each, 2)).astype(float)
    rule = Rule(objective="preference", minimum_effect=0.05, guardrails=())
    found = preference(clicks, np.repeat(np.arange(users), each), rule.alpha, rule.minimum_effect)
    assert decide(rule, {"preference": found.interval}, found.requests).decision == "promote"
