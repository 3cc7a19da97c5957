import pytest

from contracts.addresses import database_url, mlflow_artifact_url, mlflow_tracking_url
from contracts.errors import BadInput, NotFound
from contracts.home import Home
from contracts.settings import Settings, load_settings


def test_the_environment_is_read_and_the_command_line_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKBEAT_SERVE_PORT", "4000")
    monkeypatch.setenv("BACKBEAT_DEVICE", "cpu")
    assert load_settings().serve_port == 4000
    assert load_settings(serve_port=5000, device=None) == load_settings(serve_port=5000)
    assert load_settings(serve_port=5000).device == "cpu"


def test_an_unknown_variable_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKBEAT_HOEM", "/tmp/x")
    with pytest.raises(NotFound, match=r"setting 'BACKBEAT_HOEM'.*'BACKBEAT_HOME'.*unset BACKBEAT_HOEM"):
        load_settings()


def test_a_value_out_of_range_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKBEAT_SERVE_PORT", "99999")
    with pytest.raises(BadInput, match=r"BACKBEAT_SERVE_PORT: found '99999'; expected .*65535"):
        load_settings()


def test_surfaces_are_named_or_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().surfaces == ("video-feed", "background-music", "music")
    monkeypatch.setenv("BACKBEAT_SERVE_SURFACES", "music, video-feed")
    assert load_settings().surfaces == ("video-feed", "music")


@pytest.mark.parametrize("names", ["", "music,", "radio", "music;video-feed"])
def test_a_surface_that_there_is_not_is_refused(names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKBEAT_SERVE_SURFACES", names)
    with pytest.raises(BadInput, match=r"BACKBEAT_SERVE_SURFACES.*some of video-feed, background-music, music"):
        load_settings()


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKBEAT_DATABASE_URL", "postgresql+psycopg://me:sesame@127.0.0.1/x")
    assert "sesame" not in repr(load_settings())


def test_the_local_profile_keeps_everything_in_the_home(settings: Settings, home: Home) -> None:
    assert database_url(settings, home) == f"sqlite:///{home.platform_database}"
    assert mlflow_tracking_url(settings, home) == f"sqlite:///{home.mlflow_database}"
    assert mlflow_artifact_url(settings, home) == home.artifacts.as_uri()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (database_url, "BACKBEAT_DATABASE_URL"),
        (mlflow_tracking_url, "BACKBEAT_MLFLOW_URL"),
        (mlflow_artifact_url, "BACKBEAT_ARTIFACT_URL"),
    ],
)
def test_the_production_profile_names_the_address_it_lacks(address, name, home: Home) -> None:
    with pytest.raises(NotFound, match=rf"setting {name}: found not set"):
        address(load_settings(home=home.root, profile="production"), home)


def test_the_production_profile_takes_its_addresses(home: Home) -> None:
    settings = load_settings(
        home=home.root, profile="production", database_url="postgresql+psycopg://h/d", artifact_url="s3://b/k"
    )
    assert database_url(settings, home) == "postgresql+psycopg://h/d"
    assert mlflow_artifact_url(settings, home) == "s3://b/k"
