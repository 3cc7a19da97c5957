"""Charts: well-formed, readable aloud, escaped, and drawn where their figures say."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.web.charts import Bar, Interval, Series, bars, curves, intervals, sparkline, ticks
from registry.web.lineage_chart import Edge, Node, layered

LOSS = [Series("train <b>", [(0, 1.0), (1, 0.5), (2, 0.25)]), Series("validation", [(0, 1.0), (1, 0.7), (2, 0.8)])]


def _tree(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup.replace("&nbsp;", " "))


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_ticks_are_round_rise_and_enclose(low: float, high: float) -> None:
    found = ticks(min(low, high), max(low, high))
    assert 2 <= len(found) <= 12
    assert all(after > before for before, after in pairwise(found))
    slack = 1e-6 * max(abs(low), abs(high), 1e-9)
    assert found[0] <= min(low, high) + slack
    assert found[-1] >= max(low, high) - slack


def test_ticks_of_one_value() -> None:
    assert ticks(0.0, 0.0)[0] < 0 < ticks(0.0, 0.0)[-1]
    assert ticks(0, 10) == [0, 2.5, 5, 7.5, 10]


def test_curves_rise_where_values_rise() -> None:
    markup = curves("Loss", "Falls with the epochs.", LOSS, x="epoch", y="loss")
    tree = _tree(markup)
    paths = [path.get("d") for path in tree.iter("path") if str(path.get("class")).startswith("line")]
    heights = [[float(point.split()[1]) for point in re.split("[ML]", str(path)) if point] for path in paths]
    assert heights[0] == sorted(heights[0]), "a falling loss goes down: y grows"
    assert heights[1][2] < heights[1][1]
    assert {path.get("class") for path in tree.iter("path")} >= {"line d1", "line d2"}, (
        "dashes differ, not only colours"
    )


@pytest.mark.parametrize(
    "markup",
    [
        curves("T", "About it.", LOSS, x="epoch", y="loss"),
        intervals("T", "About it.", [Interval("<i>v1</i>", 0.1, 0.05, 0.2), Interval("v2", 0.3)], x="recall", zero=0.0),
        bars("T", "About it.", [Bar("cold", 0.2, 0.1), Bar("warm", -0.1)], x="recall"),
        layered("T", "About it.", [Node("a", "run", "<r>"), Node("b", "version", "1", "/v")], [Edge("a", "b")], "b"),
    ],
)
def test_a_chart_can_be_read_aloud_and_needs_no_colour_of_its_own(markup: str) -> None:
    tree = _tree(markup)
    drawing = next(tree.iter("svg"))
    assert drawing.get("role") in ("img", "group")
    assert drawing.get("aria-label") == "T"
    assert [child.tag for child in drawing][:2] == ["title", "desc"]
    assert drawing[1].text == "About it."
    assert next(tree.iter("details")) is not None
    assert not re.search(r"style=|fill=|stroke=|#[0-9a-f]{3}", markup)
    assert not re.search(r"<[bi]>|<r>", markup), "names are escaped"


def test_figures_stand_in_a_table() -> None:
    tree = _tree(intervals("T", "a", [Interval("v1", 0.125, 0.1, 0.15), Interval("v2", 0.25)], x="recall"))
    cells = [["".join(cell.itertext()) for cell in row] for row in tree.iter("tr")]
    assert cells == [["", "recall", "95% interval"], ["v1", "0.1250", "0.1000 to 0.1500"], ["v2", "0.2500", "–"]]


def test_what_is_not_finite_is_left_out_and_said() -> None:
    markup = curves("T", "a", [Series("s", [(0, 1.0), (1, math.nan), (2, 2.0)])], x="x", y="y")
    assert "1 figure left out: not finite." in markup
    assert "nan" not in re.sub("<table.*", "", markup).lower()
    for none in (
        curves("T", "a", [], x="x", y="y"),
        intervals("T", "a", [Interval("v", math.inf)], x="x"),
        bars("T", "a", [Bar("v", math.nan)], x="x"),
    ):
        assert "No finite figure to draw." in none
        _tree(none)
    assert "–" in sparkline("t", [1.0])


def test_labels_at_the_ends_of_curves_do_not_cover_each_other() -> None:
    many = [Series(f"s{number}", [(0, 0.0), (1, 1.0 + number / 1000)]) for number in range(8)]
    labels = [e for e in _tree(curves("T", "a", many, x="x", y="y")).iter("text") if e.get("class") == "label"]
    heights = sorted(float(str(label.get("y"))) for label in labels)
    assert min(after - before for before, after in pairwise(heights)) >= 13.9


def test_an_interval_s_dot_lies_within_it_and_zero_is_drawn() -> None:
    tree = _tree(intervals("T", "a", [Interval("v", 0.2, 0.1, 0.4, hollow=True)], x="x", zero=0.0))
    span = next(str(p.get("d")) for p in tree.iter("path") if p.get("class") == "line")
    left, right = (float(part.split()[0]) for part in re.split("[ML]", span) if part)
    dot = next(tree.iter("circle"))
    assert left < float(str(dot.get("cx"))) < right
    assert dot.get("class") == "hollow"
    assert [p.get("class") for p in tree.iter("path")].count("zero") == 1


def test_a_sparkline_says_its_range() -> None:
    assert "from 1.0000 to 3.0000, between 1.0000 and 5.0000" in sparkline("loss", [1.0, 5.0, math.nan, 3.0])


def test_lineage_stands_in_the_order_it_was_made() -> None:
    nodes = [Node("v", "version", "7"), Node("s", "snapshot", "abc"), Node("r", "run", "x"), Node("e", "encoder", "y")]
    edges = [Edge("s", "r"), Edge("e", "s"), Edge("r", "v"), Edge("s", "v"), Edge("gone", "v"), Edge("v", "v")]
    tree = _tree(layered("T", "a", nodes, edges))
    lefts = {str(next(iter(box)).text): int(str(box.get("x"))) for box in tree.iter("rect")}
    assert lefts["encoder y"] < lefts["snapshot abc"] < lefts["run x"] < lefts["version 7"]
    assert len([path for path in tree.iter("path") if path.get("class") == "edge"]) == 4
    assert "snapshot abc ← encoder y" in ["".join(item.itertext()) for item in tree.iter("li")]


def test_a_circle_in_lineage_is_drawn_all_the_same() -> None:
    nodes = [Node("a", "k", "a"), Node("b", "k", "b")]
    tree = _tree(layered("T", "a", nodes, [Edge("a", "b"), Edge("b", "a")]))
    assert len(list(tree.iter("rect"))) == 2
    _tree(layered("T", "a", [], []))
