"""The policy: what is shipped, what a home lays over it, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import BadInput, NotFound
from contracts.home import Home
from contracts.settings import load_settings
from contracts.surfaces import PRIMARY_METRICS, SURFACES
from registry.commands import models
from registry.policy import Policy, load_policy
from registry.thresholds import GATE_NAMES, MOVES


def read(home: Path, text: str | None = None, **settings: Any) -> Policy:
    home.mkdir(exist_ok=True)
    if text is not None:
        (home / "policy.toml").write_text(text)
    chosen = load_settings(home=home, **settings)
    return load_policy(chosen, Home(chosen.home))


def test_local_asks_nobody_and_production_one_person_and_a_shadow(tmp_path: Path) -> None:
    local, production = read(tmp_path), read(tmp_path, profile="production")
    for surface in SURFACES:
        assert local.of(surface).move("champion").approvals == 0
        asked = production.of(surface).move("champion")
        assert (asked.approvals, asked.author_may_approve) == (1, False)
        assert asked.gates == GATE_NAMES
        assert set(local.of(surface).moves) == set(MOVES)
        assert local.of(surface).move("rollback").gates == ("package",)
        assert not {"package", "approval"} & set(local.of(surface).waivable)
        assert set(local.of(surface).rules(PRIMARY_METRICS[surface])) == set(GATE_NAMES)
        assert local.of(surface).guardrails
    assert local.digest != production.digest
    assert local.digest == read(tmp_path).digest
    assert local.source is None


def test_no_guardrail_looks_at_the_test_part(tmp_path: Path) -> None:
    policy = read(tmp_path)
    metrics = [rail.metric for each in policy.surfaces.values() for rail in each.guardrails.values()]
    assert all(metric.startswith("validation_") for metric in metrics)


def test_a_home_lays_its_own_over_it(tmp_path: Path) -> None:
    shipped = read(tmp_path)
    own = read(
        tmp_path,
        """
        [every.offline]
        margin = 0.2
        [surfaces.music.offline]
        margin = 0.3
        [surfaces.video-feed.moves.champion]
        gates = ["package", "approval"]
        approvals = 2
        [profiles.production.surfaces.music.latency]
        p99_ms = 5
        """,
    )
    assert own.source == tmp_path / "policy.toml"
    assert own.digest != shipped.digest
    assert [own.of(surface).offline.margin for surface in ("video-feed", "music")] == [0.2, 0.3]
    assert own.of("video-feed").offline.least_users == shipped.of("video-feed").offline.least_users
    assert own.of("video-feed").move("champion").gates == ("package", "approval")
    assert own.of("music").move("champion") == shipped.of("music").move("champion")
    assert own.of("music").latency.p99_ms == 1000
    assert read(tmp_path, profile="production").of("music").latency.p99_ms == 5


def test_a_file_that_the_settings_name_wins(tmp_path: Path) -> None:
    named = tmp_path / "named.toml"
    named.write_text("[every.latency]\np99_ms = 7\n")
    home = tmp_path / "home"
    policy = read(home, "[every.latency]\np99_ms = 9\n", policy_file=named)
    assert policy.of("music").latency.p99_ms != 9
    assert policy.of("video-feed").latency.p99_ms == 7
    with pytest.raises(NotFound, match=r"BACKBEAT_POLICY_FILE, .*gone.toml: found no such file"):
        read(home, policy_file=tmp_path / "gone.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("every = {", "found .*; expected TOML"),
        ("[everything]", "everything: found unknown key 'everything'; expected one of every, surfaces, profiles"),
        ("every = 3", ": every: found 3; expected a table"),
        ("surfaces.music = 3", ": surfaces.music: found 3; expected a table"),
        ("profiles.local.every = 3", ": profiles.local.every: found 3; expected a table"),
        ("surfaces = 3", "surfaces: found 3; expected a table"),
        ("[surfaces.video]", "surfaces.video: found unknown key 'video'; expected one of video-feed"),
        ("[profiles.test]", "profiles.test: found unknown key 'test'; expected one of local, production"),
        ("[profiles.local.more]", "profiles.local.more: found unknown key 'more'; expected one of every, surfaces"),
        ("[profiles.local.surfaces.x]", "profiles.local.surfaces.x: found unknown key 'x'"),
        (
            '[every.moves.champion]\ngates = ["package", "magic"]',
            r"moves.champion.gates.1: found 'magic'; expected input should be 'package', 'validation', 'offline-qual",
        ),
        ("[every.moves.champion]\ngates = []", "moves.champion.gates: found .*at least 1 item"),
        ("[every.moves.winner]\ngates = []", "moves.winner: found 'winner'; expected input should be 'champion'"),
        ("[every.moves.champion]\napproval = 1", "moves.champion.approval: found unknown key; expected a key that"),
        ("[every.moves.champion]\napprovals = -1", "moves.champion.approvals: found -1"),
        ("[every.moves.champion]\napprovals = '1'", "moves.champion.approvals: found '1'; .*valid integer"),
        ("[every.offline]\nmargin = 1.5", "offline.margin: found 1.5; .*less than or equal to 1"),
        ("[every.offline]\nmargin = nan", "offline.margin: found nan; .*finite number"),
        ("[every.latency]\np99_ms = inf", "latency.p99_ms: found inf; .*finite number"),
        ("[every.latency]\np99_ms = 2026-01-01", "latency.p99_ms: found '2026-01-01'"),
        ("[every.offline]\nsuperiority = 1", "offline.superiority: found 1; .*valid boolean"),
        ("[every]\nwaivable = ['everything']", "waivable.0: found 'everything'"),
        ("[surfaces.music.guardrails.x]\nmetric = 'a'\nchange = 1", "guardrails.x: .*either a floor or a ceiling"),
        (
            "[surfaces.music.guardrails.coldness]\nmetric = 'a'\nfloor = 1\nceiling = 2\nchange = 1",
            "surface music: guardrails.coldness: .*either a floor or a ceiling",
        ),
        ("[every]\nmoves = 1", "moves: found 1"),
    ],
)
def test_what_is_not_allowed_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadInput, match=rf"(?s)policy {tmp_path}/policy.toml.*{said}") as caught:
        read(tmp_path, text)
    assert "backbeat models policy" in caught.value.next_step


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="expected TOML"):
        read(tmp_path)


def test_a_move_without_a_rule_is_refused() -> None:
    from pydantic import ValidationError

    from registry.thresholds import SurfacePolicy

    whole = read_shipped().model_dump(mode="json", by_alias=True)
    del whole["moves"]["shadow"]
    with pytest.raises(ValidationError, match="no rule for moves to shadow"):
        SurfacePolicy.model_validate(whole)


def read_shipped() -> Any:
    settings = load_settings(home=Path("/nowhere"))
    return load_policy(settings, Home(settings.home)).of("music")


def test_an_unknown_surface() -> None:
    settings = load_settings(home=Path("/nowhere"))
    with pytest.raises(NotFound, match="surface 'video'"):
        load_policy(settings, Home(settings.home)).of("video")


def test_the_command_shows_rules_and_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    document = models(["policy", "--home", str(home)], standalone_mode=False)
    out = capsys.readouterr().out
    assert set(document["surfaces"]) == set(SURFACES)
    assert "as shipped" in out
    assert "→ champion   package, validation, offline-quality, guardrails, index-recall, latency; nobody has to" in out
    assert "latency: 99 % of requests are scored within 250 ms" in out
    assert not home.exists(), "looking makes nothing"
    read(tmp_path, "[surfaces.music.latency]\np99_ms = 3\n")
    (tmp_path / "home.json").write_text(json.dumps({"format": 1, "backbeat": "0", "root": str(tmp_path)}))
    arguments = ["policy", "--surface", "music", "--json", "--home", str(tmp_path)]
    one = models(arguments, standalone_mode=False)
    assert one == json.loads(capsys.readouterr().out)
    assert list(one["surfaces"]) == ["music"]
    assert one["surfaces"]["music"]["keys"]["latency"] == {"p99_ms": 3.0}
    assert one["source"] == str(tmp_path / "policy.toml")
