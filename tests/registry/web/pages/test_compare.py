import json
import shutil

import pytest

from tests.registry.conftest import PRIMARY, SURFACE
from tests.registry.web.pages.conftest import Stock

AT = f"/compare?surface={SURFACE}"


def test_versions_measured_differently_are_kept_apart(stock: Stock) -> None:
    viewer = stock.browser()
    found = viewer.get(f"/api{AT}&version=1&version=2&version=3").json()
    assert [[one["version"] for one in group["versions"]] for group in found["groups"]] == [["1", "2"], ["3"]]
    line = next(line for line in found["groups"][0]["metrics"] if line["name"] == PRIMARY)
    assert (line["values"], line["best"], line["quality"]) == ([0.1, 0.2], 0.2, True)
    assert [option["option"] for option in found["config"]] == ["dimension", "learning_rate"]
    assert "different protocols" in viewer.get(f"{AT}&version=1,2,3").text
    assert "different protocols" not in viewer.get(f"{AT}&version=1,2").text


def test_differences_are_of_the_same_users(stock: Stock) -> None:
    found = stock.browser().get(f"/api{AT}&version=2,1").json()
    group = found["groups"][0]
    assert group["baseline"] == "1", "the champion, whatever comes first"
    line = next(line for line in group["differences"] if line["metric"] == PRIMARY)
    assert line["version"] == "2"
    assert [line["low"], line["mean"], line["high"]] == pytest.approx([0.1] * 3), "all users have the same here"
    assert "Difference from version 1" in stock.browser().get(f"{AT}&version=2,1").text


def test_a_package_that_is_elsewhere_is_no_obstacle(stock: Stock) -> None:
    shutil.rmtree(stock.shelf.package("2"))
    found = stock.browser().get(f"/api{AT}&version=1,2").json()
    assert found["groups"][0]["differences"] == []
    assert "version 2" in found["notes"][0]


def test_curves_of_those_that_have_them(stock: Stock) -> None:
    for number in ("1", "2"):
        directory = stock.artifacts(number) / "figures"
        directory.mkdir()
        values = {PRIMARY.removeprefix("validation_"): [0.1, 0.2]}
        (directory / "curves.json").write_text(json.dumps({"epoch": [1, 2], "losses": {}, "validation": values}))
    found = stock.browser().get(f"/api{AT}&version=champion,2").json()
    assert [(curve["version"], curve["values"]) for curve in found["curves"]] == [("1", [0.1, 0.2]), ("2", [0.1, 0.2])]
    assert "Validation by epoch" in stock.browser().get(f"{AT}&version=1,2").text


def test_too_few_and_too_many(stock: Stock) -> None:
    viewer = stock.browser()
    assert "Choose versions" in viewer.get(AT).text
    assert viewer.get(f"{AT}&version=1").status_code == 400
    assert viewer.get(f"{AT}&version=1,2,3,4,5,6,7,8,9").status_code == 400
    assert viewer.get(f"{AT}&version=1,99").status_code == 404
    assert viewer.get("/compare?surface=nope").status_code == 404
