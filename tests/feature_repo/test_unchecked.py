"""Feast loads without typeguard's checks, whoever of ours loads it, and nothing is loaded for that before."""

from contracts.process import run_module


def _said(tmp_path, monkeypatch, *lines: str) -> list[str]:
    """What a script in a process of its own prints."""
    (tmp_path / "asked.py").write_text("\n".join(lines))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = run_module("asked", patience=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_its_functions_are_as_they_are_written(tmp_path, monkeypatch) -> None:
    said = _said(
        tmp_path,
        monkeypatch,
        "import sys",
        "import feature_repo",
        "print({'feast', 'typeguard'} & sys.modules.keys() or 'nothing')",
        "from feast import Entity, FeatureView",
        "print(*('typeguard' in kind.__init__.__code__.co_names for kind in (Entity, FeatureView)))",
    )
    assert said == ["nothing", "False", "False"]


def test_a_process_that_has_loaded_it_before_keeps_it(tmp_path, monkeypatch) -> None:
    said = _said(
        tmp_path,
        monkeypatch,
        "import sys",
        "import feast, typeguard",
        "before = sys.meta_path[:], typeguard.typechecked",
        "import feature_repo",
        "print((sys.meta_path, typeguard.typechecked) == before)",
        "print('typeguard' in feast.Entity.__init__.__code__.co_names)",
    )
    assert said == ["True", "True"]
