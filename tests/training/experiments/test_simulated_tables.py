"""The tables of AMAE and of background music: every row works on a small simulated platform, and fills its columns."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from contracts.home import Home
from contracts.settings import load_settings
from feature_repo.apply import apply_features
from feature_repo.frame import TrainingFrame, load_all_events, load_unjudged_frame
from feature_repo.frames.events import Events
from feature_repo.offline import write_snapshot
from feature_repo.simulator import generate, plan_of
from training.config import resolve_config
from training.experiments.amae import AMAE_TABLES
from training.experiments.bgm import BGM_TABLES
from training.experiments.tables import Row, Table
from training.models import MODELS
from training.outcome import metrics_of_part
from training.ranking import stand
from training.recommender import Catalogue

TABLES = {table.name: table for table in (*AMAE_TABLES, *BGM_TABLES)}

SMALL = {
    "dl_bgm_v1": plan_of(
        "bgm", 0.001, seed=3, users=60, music=60, videos=1500, events=200, posts=60, listens=60, follows=60,
        least_videos=1,
    ),
    "amae_v1": plan_of(
        "amae", 0.0001, seed=3, users=20, music=140, videos=60, events=200, posts=200, listens=600, follows=30,
    ),
}  # fmt: skip
"""Service → a platform on which the cuts of its tables leave something for each part."""

QUICK: Mapping[str, object] = {
    "max_epochs": 1, "autoencoder_epochs": 1, "dimension": 8, "video_dimension": 8, "similar_videos": 4,
}  # fmt: skip


@dataclass(frozen=True)
class Platform:
    frame: TrainingFrame
    events: Events


@pytest.fixture(scope="module")
def platforms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Platform]:
    made = {}
    for service, plan in SMALL.items():
        settings = load_settings(home=tmp_path_factory.mktemp("platform") / "home", device="cpu")
        home = Home.open(settings)
        with home.writing("tests"):
            write_snapshot(home, generate(plan)[0])
            apply_features(settings, home)
        frame = load_unjudged_frame(settings, home, service)
        made[service] = Platform(frame, load_all_events(home, frame))
    return made


def rows_of(table: Table) -> list[tuple[Row, str]]:
    return [(row, row.model) for row in table.rows if row.model is not None]


@pytest.mark.parametrize("name", TABLES)
def test_every_row_fills_its_columns(platforms: dict[str, Platform], name: str) -> None:
    table = TABLES[name]
    platform = platforms[str(table.service)]
    parts = {}
    for row, model in rows_of(table):
        study = row.study or table.study
        assert study is not None
        if study not in parts:
            parts[study] = study.cut.parts(platform.frame, platform.events)
        frame, held = parts[study]
        config = MODELS[model].config
        quick = {key: value for key, value in QUICK.items() if key in config.model_fields}
        recommender = MODELS[model].model(
            resolve_config(model, config, {**row.overrides, **quick}), Catalogue.of(frame)
        )
        recommender.fit(frame, seed=0, protocol=study.protocol)
        found = metrics_of_part("test", stand(recommender, frame, held, study.protocol), frame, held, study.protocol)
        assert {column.metric for column in table.columns} <= set(found), row.key


@pytest.mark.parametrize("name", TABLES)
def test_orderings_are_what_the_paper_prints(name: str) -> None:
    table = TABLES[name]
    first = table.columns[0].label
    told = 0
    for group in {row.group for row in table.rows}:
        rows = {row.label: row.paper[first] for row in table.rows if row.group == group}
        for better, worse in table.orderings:
            if better in rows and worse in rows:
                assert rows[better] > rows[worse], (group, better, worse)
                told += 1
    assert told >= len(table.orderings)


def test_the_full_model_is_one_version_in_all_tables() -> None:
    for model, names in (
        ("dl-bgm", [name for name in TABLES if name.startswith("bgm")]),
        ("mf-amae", [name for name in TABLES if name.startswith("amae")]),
        ("dmf-amae", [name for name in TABLES if name.startswith("amae")]),
    ):
        full = [
            [dict(row.overrides) for row, _ in rows_of(TABLES[name])
             if row.model == model and row.overrides["variant"] == "simulated"]
            for name in names
        ]  # fmt: skip
        assert all(full)
        assert all(options == full[0][0] for table in full for options in table)


def test_ablations_change_what_their_names_say() -> None:
    changed = {}
    for name in ("bgm-c1", "bgm-c2", "amae-table4"):
        for row, model in rows_of(TABLES[name]):
            config = resolve_config(model, MODELS[model].config, row.overrides)
            usual = MODELS[model].config()
            switches = (
                *("user_match", "video_match", "music_features", "video_features"),
                *("reconstruction", "cross_modal", "fine_tuning", "attention"),
            )
            changed[name, row.key] = {
                switch: getattr(config, switch)
                for switch in switches
                if getattr(config, switch, None) != getattr(usual, switch, None)
            }
    assert changed["bgm-c1", "DL-BGM"] == changed["bgm-c2", "DL-BGM"] == changed["amae-table4", "MF+AMAE/None"] == {}
    assert changed["bgm-c1", "V2M"] == {"user_match": "off"}
    assert changed["bgm-c1", "U2M+V2M/R"] == {"video_match": "/R"}
    assert changed["bgm-c1", "U2M/A+V2M"] == {"user_match": "/A"}
    for (name, key), made in changed.items():
        if name == "bgm-c2" and made:
            music, _, video = key.partition("+")
            assert set(made.values()) == {music, video} - {"GLMPT", "CT"}
        if name == "amae-table4" and not key.endswith("/None"):
            assert set(made.values()) == {False}
    assert len({str(made) for made in changed.values()}) == 7 + 8 - 1 + 5 - 1
