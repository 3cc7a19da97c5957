"""Versions side by side on a real registry."""

import json
import shutil
from pathlib import Path

import pytest

from contracts.errors import BadInput
from contracts.surfaces import PRIMARY_METRICS
from registry.commands import models
from registry.comparison import Comparison, compare_versions

SURFACE = "video-feed"
PRIMARY = PRIMARY_METRICS[SURFACE]


def compared(shelf, *versions: str) -> Comparison:
    chosen = [shelf.store.get(SURFACE, version) for version in versions]
    return compare_versions(shelf.settings, shelf.home, SURFACE, chosen)


@pytest.fixture
def three(shelf):
    """Two versions of one protocol, and one of another."""
    shelf.register("mf", 0.1)
    shelf.register("lightgcn", 0.15)
    shelf.register("mf", 0.9, snapshot="snap-2")
    return shelf


def test_unlike_protocols_stand_apart(three) -> None:
    found = compared(three, "1", "3", "2")
    assert [group.versions for group in found.groups] == [("1", "2"), ("3",)]
    together, alone = found.groups
    assert together.protocol != alone.protocol
    assert together.metrics[PRIMARY] == {"1": 0.1, "2": 0.15}
    assert alone.metrics[PRIMARY] == {"3": 0.9}
    difference = together.differences[PRIMARY]["2"]
    assert (difference.mean, difference.low, difference.high) == pytest.approx((0.05, 0.05, 0.05))
    assert difference.users == 120
    assert alone.differences == {}
    json.dumps(found.as_dict(), allow_nan=False)


def test_differences_are_from_the_champion_where_it_is_there(three) -> None:
    three.client.set_registered_model_alias(SURFACE, "champion", "2")
    (group,) = compared(three, "1", "2").groups
    assert group.baseline == "2"
    assert group.differences[PRIMARY]["1"].mean == pytest.approx(-0.05)


def test_only_options_that_differ_are_shown(three) -> None:
    assert compared(three, "1", "2").options == {"model": {"1": "mf", "2": "lightgcn"}}
    assert compared(three, "1", "3").options == {}


def test_options_of_options_are_named_by_their_path(three) -> None:
    for version, weight in (("1", 0.1), ("2", 0.2)):
        manifest = three.package(version) / "manifest.json"
        document = json.loads(manifest.read_text())
        document["config"] = (
            {"loss": {"weight": weight, "kind": "bpr"}, "only": 1}
            if version == "1"
            else {"loss": {"weight": weight, "kind": "bpr"}}
        )
        manifest.write_text(json.dumps(document))
    options = compared(three, "1", "2").options
    assert options["loss.weight"] == {"1": 0.1, "2": 0.2}
    assert options["only"] == {"1": 1, "2": None}
    assert "loss.kind" not in options


def test_what_cannot_be_compared_is_said(three) -> None:
    three.register("vbpr", 0.2, measured=False)
    shutil.rmtree(three.package("2"))
    found = compared(three, "1", "2", "4")
    gone, before = found.notes
    assert gone.startswith("version 2: package of video-feed version 2 at ")
    assert before.startswith("version 4 has no figures of users, and so no intervals; `backbeat train vbpr --force`")
    (group,) = found.groups
    assert group.metrics[PRIMARY] == {"1": 0.1, "2": 0.15, "4": 0.2}
    assert group.differences == {}


def test_figures_that_are_not_finite_are_named(three) -> None:
    three.register("mf", float("nan"))
    found = compared(three, "1", "4")
    assert found.groups[0].metrics[PRIMARY] == {"1": 0.1, "4": "nan"}
    assert found.groups[0].differences == {PRIMARY: {}}
    json.dumps(found.as_dict(), allow_nan=False)


def test_what_is_no_choice(three) -> None:
    for versions, said in (
        (["1"], "found 1 versions; expected 2 to 8"),
        (["1", "2", "1"], "found version 1 twice"),
        ([], "found 0 versions"),
    ):
        with pytest.raises(BadInput, match=said):
            compared(three, *versions)
    one, two = (three.store.get(SURFACE, version) for version in "12")
    with pytest.raises(BadInput, match="found version 1 of video-feed"):
        compare_versions(three.settings, three.home, "music", [one, two])
    for _ in range(6):
        three.register()
    with pytest.raises(BadInput, match="found 9 versions"):
        compared(three, *"123456789")


def test_the_command(three, capsys: pytest.CaptureFixture[str]) -> None:
    home = ("--home", str(three.home.root))
    document = models(["compare", "1", "2", "3", *home], standalone_mode=False)
    out = capsys.readouterr().out
    assert "differences are from version 1" in out
    assert "0.1500 (+0.0500, +0.0500 to +0.0500)" in out
    assert "Versions of different protocols are not compared" in out
    assert "lightgcn" in out
    models(["compare", "1", "2", "3", "--json", *home], standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(document))
    assert not list(Path(three.home.root).glob("cache/packages/*")), "packages on this machine are read where they lie"
