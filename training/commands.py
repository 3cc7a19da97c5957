"""`backbeat train …` and `backbeat experiment …`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.errors import BadInput
from contracts.options import HomeOption, JsonOption, OnOption

__all__ = ["experiment", "train"]


def train(
    model: Annotated[str, typer.Argument(help="A name of docs/reference.md, e.g. lightgcn or m3csr.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option of the model; repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal metrics on the CPU.")] = 0,
    epochs: Annotated[
        int | None, typer.Option(help="Most passes over the data (short for --set max_epochs=N).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Train again even where this training has a version.")] = False,
    service: Annotated[
        str | None,
        typer.Option("--service", help="Feature service to train on, which decides the surface."),
    ] = None,
    on: OnOption = "local",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Train a model on the current snapshot and register it. Example: `backbeat train mf --set dimension=32`"""
    from dataclasses import asdict

    from contracts.console import emit
    from contracts.home import Home
    from contracts.settings import load_settings
    from training.config import resolve_config
    from training.models import model_entry

    overrides = _overrides(set_ or [])
    if epochs is not None:
        if "max_epochs" in overrides:
            raise BadInput(
                f"option --epochs {epochs}",
                found=f"--set max_epochs={overrides['max_epochs']} as well",
                expected="one of the two",
                next_step="leave one of them out",
            )
        overrides["max_epochs"] = str(epochs)
    settings = load_settings(home=home)
    place = Home.open(settings)
    resolve_config(model, model_entry(model).config, overrides)
    place.require()
    with place.writing(f"backbeat train {model}"):
        if on == "ray":
            from training.on_ray import train_on_ray as train_and_register
        else:
            from training.train import train as train_and_register

        trained = train_and_register(settings, place, model, overrides, seed=seed, force=force, service=service)
    emit(
        document := asdict(trained),
        as_json=as_json,
        text=f"{model} is version {trained.version} of {trained.surface}"
        f"{' (trained before; --force trains again)' if trained.reused else ''}\n"
        f"  validation  {_figures(trained.metrics, 'validation_')}\n"
        f"  test        {_figures(trained.metrics, 'test_')}\n"
        f"  training    {trained.metrics['train_seconds']:.1f} s",
    )
    return document


def experiment(
    name: Annotated[str, typer.Argument(help="MODEL-DATA, e.g. lightgcn-tiktok.")],
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0,1,2",
    docs: Annotated[Path, typer.Option(help="Directory of results.json and results.md.")] = Path("docs"),
    force: Annotated[bool, typer.Option("--force", help="Train again even where a seed was trained before.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Train a model once per seed, report mean and deviation. Example: `backbeat experiment lightgcn-tiktok`"""
    from contracts.console import emit
    from contracts.opening import open_home
    from training.experiments import run_experiment

    numbers = _numbers(seeds)
    settings, place = open_home(home)
    with place.writing(f"backbeat experiment {name}"):
        rows = run_experiment(settings, place, name, numbers, docs, force=force)
    document = {"experiment": name, "rows": rows}
    lines = [f"{name}, seeds {seeds}: written to {docs / 'results.json'} and {docs / 'results.md'}"]
    for row in rows:
        deviation = f" ± {row['deviation']:.4f}" if row["deviation"] is not None else ""
        lines.append(f"  {row['metric']:<13} {row['value']:.4f}{deviation}")
    emit(document, as_json=as_json, text="\n".join(lines))
    return document


_SHOWN = {"recall": "Recall", "precision": "Precision", "ndcg": "NDCG", "hr": "HR"}


def _figures(metrics: Mapping[str, float], part: str) -> str:
    """Recall, precision, NDCG and hit ratio of one part of the split, at its largest cut-off."""
    found = {name.removeprefix(part): value for name, value in metrics.items() if name.startswith(part)}
    depth = max(int(name.rpartition("_")[2]) for name in found)
    return "  ".join(
        f"{shown}@{depth} {found[key]:.4f}" for name, shown in _SHOWN.items() if (key := f"{name}_at_{depth}") in found
    )


def _overrides(assignments: list[str]) -> dict[str, object]:
    overrides: dict[str, object] = {}
    for assignment in assignments:
        name, separator, value = assignment.partition("=")
        if not separator or not name:
            raise BadInput(
                f"option --set {assignment!r}",
                found="no NAME=VALUE" if name else "no name before the equals sign",
                expected="an assignment such as learning_rate=0.001",
                next_step="write it as `--set NAME=VALUE`",
            )
        overrides[name.strip()] = value.strip()
    return overrides


def _numbers(seeds: str) -> list[int]:
    parts = [part.strip() for part in seeds.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise BadInput(
            f"option --seeds {seeds!r}",
            found="something other than whole numbers",
            expected="numbers from 0, separated by commas",
            next_step="write it as `--seeds 0,1,2`",
        )
    return [int(part) for part in parts]
