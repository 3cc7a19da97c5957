"""Each reason by hand, and how often the rule errs when it is asked daily."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from contracts.verdict import Guardrail, LiveVerdict, Rule
from serving.analysis.estimates import Contrast
from serving.analysis.sample_ratio import sample_ratio
from serving.analysis.sequences import Interval, normal_sequence, rate_difference_sequence
from serving.analysis.verdict import decide

RULE = Rule(
    objective="ctr",
    minimum_effect=0.02,
    guardrails=(
        Guardrail(metric="errors", margin=0.01, harm="higher"),
        Guardrail(metric="watch_time", margin=0.05, harm="lower"),
    ),
    minimum_requests=1_000,
    minimum_users=100,
)

GOOD = {
    "ctr": Interval(0.05, 0.01, 0.09, RULE.alpha, p_value=0.001, units=500),
    "errors": Interval(0.0, -0.002, 0.002, RULE.alpha),
    "watch_time": Interval(0.01, -0.03, 0.05, RULE.alpha, p_value=1.0, units=500),
}


def test_better_and_harmless_is_promoted() -> None:
    verdict = decide(RULE, GOOD, 5_000, sample_ratio({"a": 500, "b": 510}, {"a": 1, "b": 1}))
    assert (verdict.decision, verdict.reason, verdict.more_requests) == ("promote", "better", 0)
    assert verdict.sentence == "Promote: ctr +5.00% (+1.00% to +9.00%), and errors and watch_time kept."
    assert [finding.state for finding in verdict.findings] == ["better", "kept", "kept"]
    assert verdict.split_p == 1


def test_a_broken_guardrail_rejects_what_is_better() -> None:
    worse = GOOD | {"watch_time": Interval(-0.1, -0.13, -0.07, RULE.alpha, units=500)}
    verdict = decide(RULE, worse, 5_000)
    assert (verdict.decision, verdict.reason) == ("reject", "guardrail_broken")
    assert verdict.sentence == "Reject: watch_time -10.00% (-13.00% to -7.00%), beyond -5.00%."
    failing = GOOD | {"errors": rate_difference_sequence((0, 5_000), (400, 5_000), RULE.alpha)}
    assert decide(RULE, failing, 5_000).reason == "guardrail_broken"


def test_what_gains_nothing_worth_it_is_rejected_even_if_it_is_surely_above_0() -> None:
    for low, high in ((-0.01, 0.019), (0.002, 0.015)):
        small = GOOD | {"ctr": Interval(0.01, low, high, RULE.alpha, units=500)}
        verdict = decide(RULE, small, 5_000)
        assert (verdict.decision, verdict.reason) == ("reject", "no_relevant_gain")
        assert "less than +2.00% is not worth a promotion" in verdict.sentence


def test_an_open_question_holds_and_says_how_much_more() -> None:
    ctr = normal_sequence(Contrast(0.03, 0.02, 500), RULE.minimum_effect, RULE.alpha)
    verdict = decide(RULE, GOOD | {"ctr": ctr}, 5_000)
    assert (verdict.decision, verdict.reason) == ("hold", "undecided")
    assert verdict.more_requests is not None
    factor = 1 + verdict.more_requests / 5_000
    settled = normal_sequence(Contrast(0.03, 0.02 / np.sqrt(factor), 500), RULE.minimum_effect, RULE.alpha)
    assert settled.low == pytest.approx(0, abs=1e-4)
    assert f"ctr not settled, about {verdict.more_requests:,} more requests" in verdict.sentence


def test_a_guardrail_that_is_open_holds_what_is_better() -> None:
    verdict = decide(RULE, GOOD | {"errors": Interval(0.0, -0.02, 0.02, RULE.alpha)}, 5_000)
    assert (verdict.reason, verdict.more_requests) == ("undecided", 15_000)
    at_the_margin = decide(RULE, GOOD | {"errors": Interval(0.01, 0.0, 0.02, RULE.alpha)}, 5_000)
    assert at_the_margin.more_requests is None
    assert "no traffic can be named" in at_the_margin.sentence
    unknown = decide(RULE, GOOD | {"errors": Interval(0.0, -1.0, float("inf"), RULE.alpha)}, 5_000)
    assert unknown.findings[1].high is None
    assert unknown.more_requests is None


def test_too_little_or_broken_evidence_holds() -> None:
    few = decide(RULE, GOOD, 600)
    assert (few.decision, few.reason, few.more_requests) == ("hold", "too_few_requests", 400)
    users = decide(RULE, GOOD | {"ctr": replace(GOOD["ctr"], units=50)}, 5_000)
    assert (users.reason, users.more_requests) == ("too_few_users", 5_000)
    missing = decide(RULE, {"ctr": GOOD["ctr"]}, 5_000)
    assert (missing.reason, missing.more_requests) == ("not_measured", None)
    assert missing.sentence == "Hold: errors and watch_time not measured."
    split = sample_ratio({"a": 6_000, "b": 5_000}, {"a": 1, "b": 1})
    broken = decide(RULE, GOOD, 5_000, split)
    assert (broken.decision, broken.reason) == ("hold", "broken_split")
    assert "a 6,000 of 5,500 expected" in broken.sentence


def test_a_verdict_is_one_json_document() -> None:
    for measured in (GOOD, GOOD | {"errors": Interval(0.0, -1.0, float("inf"), RULE.alpha)}):
        verdict = decide(RULE, measured, 5_000)
        text = json.dumps(verdict.as_dict(), allow_nan=False)
        assert LiveVerdict.model_validate(json.loads(text)) == verdict


def test_rules_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValidationError, match="named twice: ctr, ctr"):
        Rule(guardrails=(Guardrail(metric="ctr", margin=0.1, harm="lower"),))
    with pytest.raises(ValidationError, match="lose all of watch_time"):
        Guardrail(metric="watch_time", margin=1.0, harm="lower")
    with pytest.raises(ValidationError):
        Rule(minimum_effect=0)
    with pytest.raises(ValidationError):
        Rule.model_validate({"minimum": 3})
    assert Rule(confidence=0.94, guardrails=()).alpha == pytest.approx(0.06)
    assert RULE.alpha == pytest.approx(0.05 / 3)


def watched(lifted: float, rule: Rule, runs: int, seed: int, days: int = 60, daily: int = 20_000) -> list[LiveVerdict]:
    """The first decision of each run that is looked at every day, or the last day's hold."""
    generator = np.random.default_rng(seed)
    ends = []
    for _ in range(runs):
        shown = daily * np.arange(1, days + 1)
        a, b = (generator.binomial(daily, rate, days).cumsum() / shown for rate in (0.05, 0.05 * (1 + lifted)))
        for day in range(days):
            p, q, n = a[day], b[day], shown[day]
            error = float(np.hypot(np.sqrt((1 - q) / (q * n)), np.sqrt((1 - p) / (p * n))))
            contrast = Contrast(float(np.log(q / p)), error, int(n), logarithmic=True)
            found = {"ctr": normal_sequence(contrast, rule.minimum_effect, rule.alpha)}
            verdict = decide(rule, found, int(n))
            if verdict.decision != "hold":
                break
        ends.append(verdict)
    return ends


def test_asked_daily_the_rule_errs_seldom_and_comes_to_an_end() -> None:
    rule = Rule(minimum_effect=0.05, guardrails=())
    alike = [verdict.decision for verdict in watched(0.0, rule, runs=200, seed=0)]
    assert alike.count("promote") / 200 <= 0.05
    assert alike.count("reject") / 200 > 0.9
    good = [verdict.decision for verdict in watched(0.08, rule, runs=100, seed=1)]
    assert good.count("reject") / 100 <= 0.05
    assert good.count("promote") / 100 > 0.9
    assert all(verdict.decision == "reject" for verdict in watched(-0.05, rule, runs=30, seed=2))
