import json

import pytest

from contracts.jobs import list_jobs
from contracts.surfaces import Tag
from registry.policy import load_policy
from registry.web.pages.version import config_differences
from tests.registry.conftest import SURFACE
from tests.registry.web.pages.conftest import HOSTILE, PNG, Stock, audit, judgement, request

BASE = f"/versions/{SURFACE}/2"


def test_a_version_has_its_contract_gates_and_differences(stock: Stock) -> None:
    sha256 = stock.shelf.store.get(SURFACE, "2").tags[Tag.PACKAGE_SHA256]
    policy = load_policy(stock.shelf.settings, stock.shelf.home).digest
    stock.add(
        judgement(package_sha256=sha256, policy_digest=policy),
        audit(version="2", action="promote refused", reason=HOSTILE),
    )
    stock.add(request())
    found = stock.browser().get(f"/api{BASE}").json()
    assert found["package"]["fault"] is None
    assert (found["package"]["sha256"], found["package"]["unaltered"]) == (sha256, True)
    assert found["champion"]["version"] == "1"
    assert [line["option"] for line in found["config"]] == ["learning_rate"]
    (judged,) = found["judgements"]
    assert (judged["passed"], judged["stale"]) == (False, None)
    assert [verdict["outcome"] for verdict in judged["verdicts"]] == ["pass", "fail"]
    assert found["history"][0]["action"] == "promote refused"
    page = stock.browser().get(BASE).text
    assert "1 of 2 refuse" in page
    assert "<script>alert" not in page
    assert "/promotions#r1" in page
    assert {"version", "run", "snapshot"} <= {node["kind"] for node in found["lineage"]["nodes"]}
    assert "From source tables at the left to the version at the right" in page


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"champion": "3"}, "the champion was 3 then and is 1 now"),
        ({"package_sha256": "other"}, "another hash"),
        ({"policy_digest": "old"}, "the policy was old then"),
    ],
)
def test_a_judgement_may_be_stale(stock: Stock, changed: dict[str, str], said: str) -> None:
    sha256 = stock.shelf.store.get(SURFACE, "2").tags[Tag.PACKAGE_SHA256]
    stock.add(judgement(**{"package_sha256": sha256, **changed}))
    (judged,) = stock.browser().get(f"/api{BASE}").json()["judgements"]
    assert said in judged["stale"]


def test_buttons_say_what_they_do_to_those_who_may(stock: Stock) -> None:
    approver, engineer, viewer = (stock.browser(role).get(BASE).text for role in ("approver", "engineer", "viewer"))
    ask, make, judge = (
        "Ask for version 2 to replace champion 1",
        "Make version 2 champion, replacing 1",
        "Judge version 2",
    )
    assert all(words in approver for words in (ask, make, judge, "Retire version 2"))
    assert ask in engineer
    assert judge in engineer
    assert make not in engineer
    assert not any(
        words in viewer for words in (ask, make, judge, "Retire version 2", '<form method="post" action="/ver')
    )


@pytest.mark.parametrize(
    ("role", "action", "fields", "verb"),
    [
        ("engineer", "judge", {"target": "champion"}, "judge"),
        ("engineer", "request", {"target": "champion", "reason": "better"}, "request"),
        ("approver", "promote", {"target": "champion", "reason": "better"}, "promote"),
        ("approver", "retire", {"reason": "old"}, "retire"),
        ("approver", "waive", {"gate": "latency", "reason": "known", "days": "3"}, "waive"),
    ],
)
def test_actions_are_work_that_goes_on_by_itself(
    stock: Stock, monkeypatch: pytest.MonkeyPatch, role: str, action: str, fields: dict[str, str], verb: str
) -> None:
    monkeypatch.setattr("registry.web.errands.ErrandRunner.run", lambda runner, errand: None)
    answer = stock.browser(role).fill(f"{BASE}/{action}", fields)
    assert answer.status_code == 303
    (job,) = list_jobs(stock.web.database, kind="errand")
    assert answer.headers["location"] == f"/work/{job.id}"
    assert job.parameters["verb"] == verb
    assert job.parameters["arguments"]["version"] == "2"
    assert job.parameters["actor"] == role
    below = {"engineer": "viewer", "approver": "engineer"}[role]
    assert stock.browser(below).fill(f"{BASE}/{action}", fields).status_code == 403
    assert stock.browser(role).fill(f"/versions/{SURFACE}/9/{action}", fields).status_code == 404


def test_moves_say_what_the_policy_asks_and_what_is_wrong_with_it(stock: Stock) -> None:
    found = stock.browser().get(f"/api{BASE}").json()
    champion = next(move for move in found["moves"] if move["target"] == "champion")
    assert {"package", "offline-quality"} <= set(champion["gates"])
    assert champion["replaces"] == "1"
    (stock.shelf.home.root / "policy.toml").write_text("[surfaces]\nnonsense = 1\n")
    found = stock.browser().get(f"/api{BASE}").json()
    assert "nonsense" in found["policy_fault"]
    assert "The policy cannot be read" in stock.browser().get(BASE).text


def test_rolling_back_is_offered_where_there_was_another_champion(
    stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.web.errands.ErrandRunner.run", lambda runner, errand: None)
    words = "Bring back the champion before 2"
    assert "Bring back" not in stock.browser("approver").get(f"/versions/{SURFACE}/1").text
    stock.hold("champion", "2")
    assert words in stock.browser("approver").get(BASE).text
    answer = stock.browser("approver").fill(f"/versions/{SURFACE}/rollback", {"reason": "complaints"})
    (job,) = list_jobs(stock.web.database, kind="errand")
    assert (answer.status_code, job.parameters["verb"]) == (303, "rollback")


def test_figures_are_pictures_of_its_run_and_nothing_else(stock: Stock) -> None:
    directory = stock.artifacts("2") / "figures"
    directory.mkdir()
    (directory / "curves.png").write_bytes(PNG)
    (directory / "curves.json").write_text(
        json.dumps({"epoch": [1, 2], "losses": {HOSTILE: [1.0, 0.5]}, "validation": {"recall_at_20": [0.1, None]}})
    )
    (directory / "recall_at_n.json").write_text('{"n": "no list", "recall": 3}')
    secret = stock.shelf.home.root / "secret.png"
    secret.write_bytes(b"secret")
    (directory / "link.png").symlink_to(secret)
    viewer = stock.browser()
    found = viewer.get(f"/api{BASE}").json()
    assert found["figures"] == ["curves"]
    assert [chart["title"] for chart in found["charts"]] == ["Validation by epoch", "Losses by epoch"]
    picture = viewer.get(f"{BASE}/figures/curves")
    assert (picture.content, picture.headers["content-type"]) == (PNG, "image/png")
    assert "<script>alert" not in viewer.get(BASE).text
    for name in ("link", "..%2F..%2Fsecret", "curves.png", "%2e%2e"):
        answer = viewer.get(f"{BASE}/figures/{name}")
        assert answer.status_code == 404, name
        assert (
            b"secret" not in answer.content.replace(b"secret.png", b"").replace(b"..%2Fsecret", b"") or name != "link"
        )


def test_a_source_outside_the_artifacts_is_not_read(stock: Stock) -> None:
    shelf, outside = stock.shelf, stock.shelf.home.root.parent / "outside"
    (outside / "figures").mkdir(parents=True)
    (outside / "figures" / "a.png").write_bytes(PNG)
    run = shelf.store.get(SURFACE, "2").run_id
    for source in (
        f"file://{outside}/package",
        f"{shelf.store.get(SURFACE, '2').source}/../../../../../outside/package",
    ):
        try:
            number = str(shelf.client.create_model_version(SURFACE, source, run).version)
        except Exception as error:  # noqa: BLE001  MLflow itself refuses some of these
            assert "nvalid" in str(error)
            continue
        stock.see()
        found = stock.browser().get(f"/api/versions/{SURFACE}/{number}").json()
        assert found["figures"] == []
        assert "not on this machine" in found["package"]["fault"]


def test_an_altered_or_lost_package_is_said(stock: Stock) -> None:
    manifest = stock.shelf.package("2") / "manifest.json"
    document = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**document, "seed": 7, "candidates": 2_000}))
    assert stock.browser().get(f"/api{BASE}").json()["package"]["unaltered"] is False
    page = stock.browser().get(BASE).text
    assert "not the one that was registered" in page
    assert "of 2000 candidates" in page
    manifest.unlink()
    assert "no manifest" in stock.browser().get(BASE).text


def test_unknown_versions_say_which_there_are(stock: Stock) -> None:
    page = stock.browser().get(f"/versions/{SURFACE}/99")
    assert page.status_code == 404
    assert "one of 3 versions, 1 to 3" in page.text


def test_differences_of_configurations() -> None:
    lines = config_differences({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "3", "d": "4"})
    assert [(line.option, line.mine, line.theirs) for line in lines] == [
        ("b", "2", "3"),
        ("c", "3", None),
        ("d", None, "4"),
    ]
