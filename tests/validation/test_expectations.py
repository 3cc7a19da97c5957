"""Our own expectations as Great Expectations sees them: results, rules in words, serialisation, rendering."""

import json
from typing import Any

import great_expectations as gx
import numpy as np
import pandas as pd
import pytest
from great_expectations import expectations as gxe
from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.renderer.inline_renderer import InlineRenderer

from contracts.embeddings import EmbeddingSpec
from validation.context import RULE, hold, offending_rows
from validation.expectations.bands import ExpectColumnShareToStayInLearnedBand, ExpectStatisticToStayInLearnedBand
from validation.expectations.drift import ExpectNoDriftBeyondChance
from validation.expectations.modalities import ExpectPairedModalitiesToAgree
from validation.expectations.probes import ExpectProbesToReencodeAlike
from validation.expectations.spec import ExpectEmbeddingSpecToMatch
from validation.expectations.statistic import StatisticExpectation, number
from validation.expectations.vectors import ExpectItemsToKeepTheirVectors
from validation.expectations.within import ExpectColumnValuesToLieWithin


def _spec(**changed: Any) -> str:
    facts = {"modality": "visual", "encoder": "resnet", "revision": "1", "preprocessing": "none", "width": 8}
    return EmbeddingSpec(**(facts | {"dtype": "float32", "normalisation": "none"} | changed)).model_dump_json()


STATISTICS = [
    (ExpectStatisticToStayInLearnedBand(column="c", low=1, high=3, learned_from=4), 2.0, 0.5, 0.5),
    (ExpectStatisticToStayInLearnedBand(column="c", low=1, high=3, learned_from=4), 3, 4.0, 0.25),
    (ExpectStatisticToStayInLearnedBand(column="c", high=3), -1e9, 3.1, 0.1 / 3.1),
    (ExpectColumnShareToStayInLearnedBand(column="c", high=0.02, learned_from=1), 0.02, 0.05, 0.6),
    (ExpectColumnShareToStayInLearnedBand(column="c", low=0.98, learned_from=1), 0.98, 0.7, 14 / 15),
    (ExpectItemsToKeepTheirVectors(column="c", max_share=0.002), 0.002, 0.25, 0.992),
    (ExpectNoDriftBeyondChance(column="c", alpha=0.002), 0.01, 0.002, 1.0),
    (ExpectPairedModalitiesToAgree(column="c", least=0.5), 0.5, 0.49, 1.0),
    (ExpectProbesToReencodeAlike(column="c", tolerance=0.01), 0.01, 0.02, 1.0),
    (ExpectEmbeddingSpecToMatch(column="c", accepted=[_spec()], whose="x"), _spec(), _spec(revision="2"), 1.0),
]


def _texts(node: Any) -> list[str]:
    """All strings of a rendered page."""
    if isinstance(node, str):
        return [node]
    parts = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
    return [text for part in parts for text in _texts(part)]


def _judged(expectation: StatisticExpectation, value: object) -> ExpectationSuiteValidationResult:
    return hold("suite/table", "batch", pd.DataFrame({"c": [value]}), [expectation])


@pytest.mark.parametrize(("expectation", "good", "bad", "severity"), STATISTICS, ids=lambda v: getattr(v, "type", None))
def test_a_statistic_holds_breaks_and_is_missed(
    expectation: StatisticExpectation, good: object, bad: object, severity: float
) -> None:
    assert _judged(expectation, good).success
    result = _judged(expectation, bad)
    assert not result.success
    assert result.results[0].result["severity"] == pytest.approx(severity)
    missing = _judged(expectation, None)
    assert not missing.success
    assert expectation.observed_words(missing.results[0].result) == "could not be measured"


@pytest.mark.parametrize(("expectation", "good", "bad", "severity"), STATISTICS, ids=lambda v: getattr(v, "type", None))
def test_a_statistic_renders_and_survives_json(
    expectation: StatisticExpectation, good: object, bad: object, severity: float
) -> None:
    again = ExpectationConfiguration(**json.loads(json.dumps(expectation.configuration.to_json_dict()))).to_domain_obj()
    assert again == expectation
    assert type(expectation).__doc__
    for value in (good, bad, None):
        result = _judged(expectation, value)
        page = ValidationResultsPageRenderer().render(result).to_json_dict()
        assert not any("$expectation_type" in text for text in _texts(page)), "the library's fallback"
        one = result.results[0]
        assert expectation.observed_words(one.result) in _texts(page)
    atomic = InlineRenderer(expectation.configuration).get_rendered_content()
    assert [content.value_type for content in atomic] == ["StringValueType"]
    template, parameters = atomic[0].value.template, set(atomic[0].value.params)
    assert {word.strip("$,:;.") for word in template.split() if word.startswith("$")} <= parameters


def test_what_is_observed_is_said_with_what_is_allowed() -> None:
    band = ExpectColumnShareToStayInLearnedBand(column="c", high=0.0125, learned_from=3)
    assert band.observed_words(_judged(band, 0.25).results[0].result) == "25 %, where at most 1.25 % is allowed"
    spec = ExpectEmbeddingSpecToMatch(column="c", accepted=[_spec()], whose="the champion")
    words = spec.observed_words(_judged(spec, _spec(revision="2", normalisation="l2")).results[0].result)
    assert words == "resnet 2: revision '2' instead of '1', normalisation 'l2' instead of 'none'"
    drift = ExpectNoDriftBeyondChance(column="c", alpha=0.002, detail="30 new items differ")
    assert drift.observed_words({"observed_value": 1.0}) == "no difference that matters"
    assert drift.observed_words(_judged(drift, 5e-4).results[0].result).endswith("p = 0.0005: 30 new items differ")


@pytest.mark.parametrize(("value", "text"), [(3.0, "3"), (1234567, "1,234,567"), (0.123456, "0.1235"), (1e12, "1e+12")])
def test_numbers_as_people_read_them(value: float, text: str) -> None:
    assert number(value) == text


def test_a_statistic_of_several_rows_is_an_error_that_breaks_the_rule() -> None:
    rule = ExpectStatisticToStayInLearnedBand(column="c", high=3)
    result = hold("suite/table", "batch", pd.DataFrame({"c": [1.0, 2.0]}), [rule])
    assert not result.success
    assert result.results[0].result == {}


BOUNDS = [
    {"min_value": -0.5, "max_value": 0.5},
    {"min_value": 0.0, "strict_min": True},
    {"max_value": 0.0, "mostly": 0.4},
    {"min_value": 0.0, "max_value": 0.0, "mostly": 0.01},
    {},
]


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_within_says_what_the_librarys_own_says(bounds: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=300).round(1)
    values[rng.random(300) < 0.1] = np.nan
    values[7] = np.inf
    frame = pd.DataFrame({"c": values})
    mine, theirs = ExpectColumnValuesToLieWithin(column="c", **bounds), None
    if bounds:
        theirs = gxe.ExpectColumnValuesToBeBetween(column="c", **bounds)
    results = hold("suite/table", "rows", frame, [rule for rule in (mine, theirs) if rule is not None]).results
    if theirs is None:
        assert results[0].success
        return
    facts = ("unexpected_count", "unexpected_percent", "missing_count", "element_count")
    assert results[0].success == results[1].success
    assert [results[0].result[fact] for fact in facts] == [results[1].result[fact] for fact in facts]


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_within_renders(bounds: dict[str, Any]) -> None:
    rule = ExpectColumnValuesToLieWithin(column="c", **bounds)
    result = hold("suite/table", "rows", pd.DataFrame({"c": [1.0, -7.0]}), [rule])
    page = json.dumps(ValidationResultsPageRenderer().render(result).to_json_dict())
    assert "$expectation_type" not in page
    (content,) = InlineRenderer(rule.configuration).get_rendered_content()
    words = content.value.template
    for name, parameter in content.value.params.items():
        words = words.replace(f"${name}", str(parameter["value"]))
    expected = {
        0: "c must be at least -0.5 and at most 0.5",
        1: "c must be greater than 0",
        2: "c must be at most 0, in a share of 0.4 of the rows at least",
        3: "c must be at least 0 and at most 0, in a share of 0.01 of the rows at least",
        4: "c may be any number",
    }
    assert words == expected[BOUNDS.index(bounds)]


def test_offending_rows_are_told_by_number() -> None:
    frame = pd.DataFrame({"c": [0.0, 5.0, np.nan, -1.0], "known": [True, True, False, True]})
    rules = [
        ExpectColumnValuesToLieWithin(column="c", min_value=0, max_value=1),
        gxe.ExpectColumnValuesToBeInSet(column="known", value_set=[True]),
        gxe.ExpectColumnValuesToNotBeNull(column="known"),
    ]
    found = {place: (rows.tolist(), values) for place, rows, values in offending_rows("suite/table", frame, rules)}
    assert found == {0: ([1, 3], [5.0, -1.0]), 1: ([2], [False])}


def test_results_name_the_place_of_their_rule_in_any_order() -> None:
    frame = pd.DataFrame({"a": [1.0], "b": [2.0]})
    rules = [
        ExpectStatisticToStayInLearnedBand(column=name, high=high) for name, high in (("b", 1), ("a", 1), ("b", 3))
    ]
    results = hold("suite/table", "batch", frame, rules).results
    assert {one.expectation_config.meta[RULE]: one.success for one in results} == {0: False, 1: True, 2: True}


def test_all_judgements_of_a_process_share_one_context(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"c": [1.0]})
    rule = ExpectStatisticToStayInLearnedBand(column="c", high=3)
    hold("suite/table", "batch", frame, [rule])

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("another context")

    monkeypatch.setattr(gx, "get_context", refuse)
    assert hold("other/table", "batch", frame, [rule]).success


def test_a_remembered_configuration_follows_its_fields() -> None:
    rule = ExpectStatisticToStayInLearnedBand(column="c", high=3)
    assert rule.configuration is rule.configuration
    rule.high = 4
    assert rule.configuration.kwargs["high"] == 4
    other = rule.copy(update={"high": 5.0})
    assert (other.configuration.kwargs["high"], rule.configuration.kwargs["high"]) == (5, 4)
