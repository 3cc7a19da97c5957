"""`backbeat train …`, `backbeat tune …` and `backbeat experiment …`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.errors import BadInput
from contracts.options import HomeOption, JsonOption, OnOption

if TYPE_CHECKING:
    from contracts.home import Home
    from training.experiments.lookup import AskedStudy

__all__ = ["experiment", "train", "tune"]

StudyOption = Annotated[
    str | None,
    typer.Option(
        metavar="TABLE[/GROUP]",
        help="Hold out and rank as a table of `backbeat experiment` does, on its feature service.",
    ),
]


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
    study: StudyOption = None,
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

    overrides: dict[str, object] = {**_assignments("--set", set_ or [], "learning_rate=0.001")}
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
    asked = _asked(study, model, service)
    place.require()
    _require_its_data(asked, place)
    with place.writing(f"backbeat train {model}"):
        if on == "ray":
            from training.on_ray import train_on_ray as train_and_register
        else:
            from training.train import train as train_and_register

        trained = train_and_register(
            settings, place, model, overrides, seed=seed, force=force, service=asked.service, study=asked.study
        )
    emit(
        document := asdict(trained),
        as_json=as_json,
        text=f"{model} is version {trained.version} of {trained.surface}"
        f"{' (trained before; --force trains again)' if trained.reused else ''}\n"
        f"  validation  {_figures(trained.metrics, 'validation')}\n"
        f"  test        {_figures(trained.metrics, 'test')}\n"
        f"  training    {trained.metrics['train_seconds']:.1f} s{_missing(trained.metrics)}",
    )
    return document


def tune(
    model: Annotated[str, typer.Argument(help="A name of docs/reference.md, e.g. lightgcn or m3csr.")],
    trials: Annotated[int, typer.Option(min=1, help="In all, those of a tuning that is gone on with included.")] = 20,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds; the same command goes on where this one ends.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Fix an option of the model; repeatable.")
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=RANGE",
            help="Search an option in 1e-4..1e-2, 1e-4..1e-2:log or 32,64,128, in place of the model's own range or "
            "beside its own options; repeatable.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search and of every training in it.")] = 0,
    service: Annotated[
        str | None,
        typer.Option("--service", help="Feature service to train on, which decides the surface."),
    ] = None,
    study: StudyOption = None,
    name: Annotated[
        str | None,
        typer.Option(help="Of the tuning; by default made from all that its trials have in common."),
    ] = None,
    register: Annotated[
        bool, typer.Option("--register", help="Train with the best options and register it as variant `tuned`.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Search a model's options for the best validation metric. Example: `backbeat tune mf --trials 20 --timeout 600`"""
    from dataclasses import asdict

    from contracts.console import emit
    from contracts.home import Home
    from contracts.settings import load_settings
    from training.config import resolve_config
    from training.models import model_entry
    from training.questions import question_of
    from training.tuning.space import space_of_text
    from training.tuning.task import task_of
    from training.tuning.tune import tune as search

    fixed = _assignments("--set", set_ or [], "learning_rate=0.001")
    ranges = _assignments("--space", space or [], "learning_rate=1e-4..1e-2:log")
    settings = load_settings(home=home)
    place = Home.open(settings)
    entry = model_entry(model)
    resolve_config(model, entry.config, fixed)
    space_of_text(model, entry.config, fixed, ranges)
    asked = _asked(study, model, service)
    question_of(asked.service or entry.feature_service)
    place.require()
    _require_its_data(asked, place)
    with place.writing(f"backbeat tune {model}"):
        task = task_of(settings, place, model, fixed, ranges, seed=seed, service=asked.service, study=asked.study)
        outcome = search(settings, place, task, trials=trials, timeout=timeout, name=name)
        document: dict[str, Any] = {**asdict(outcome), "command": None, "registered": None}
        lines = _told(document)
        if outcome.best is not None:
            chosen = {"variant": "tuned", **fixed, **outcome.best.options}
            document["command"] = _command_of(model, chosen, seed, {"service": service, "study": study, "home": home})
            if register:
                # Only now is the test split read, to report on what was chosen without it.
                from training.train import train as train_and_register

                trained = train_and_register(
                    settings, place, model, chosen, seed=seed, service=asked.service, study=asked.study
                )
                document["registered"] = asdict(trained)
                lines.append(f"Registered as version {trained.version} of {trained.surface}")
            else:
                lines.append(f"Train and register it: {document['command']}")
    emit(document, as_json=as_json, text="\n".join(lines))
    return document


def experiment(
    name: Annotated[str | None, typer.Argument(help="E.g. m3csr-table2; without it, all are listed.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by commas.")] = "0,1,2",
    rows: Annotated[
        list[str] | None,
        typer.Option("--rows", metavar="LABEL", help="Only this row, or GROUP/LABEL; repeatable."),
    ] = None,
    docs: Annotated[Path, typer.Option(help="Directory of results.json, results.md and images/results.")] = Path(
        "docs"
    ),
    force: Annotated[bool, typer.Option("--force", help="Train again even where a seed was trained before.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Run a table of a paper, or what is missing of it. Example: `backbeat experiment m3csr-table2 --seeds 0,1,2`"""
    from contracts.console import emit
    from contracts.opening import open_home
    from training.experiments.catalogue import TABLES
    from training.experiments.lookup import known_table
    from training.experiments.report import list_tables, text_of
    from training.experiments.runner import run_table

    if name is None:
        emit(document := {"experiments": list(TABLES)}, as_json=as_json, text=list_tables(TABLES.values()))
        return document
    numbers, table = _numbers(seeds), known_table(name, TABLES)
    settings, place = open_home(home)
    with place.writing(f"backbeat experiment {name}"):
        result = run_table(settings, place, table, numbers, docs, rows=rows or [], force=force)
    document = result.model_dump(mode="json")
    emit(document, as_json=as_json, text=f"{text_of(result)}\n\nwritten to {docs / 'results.md'}")
    return document


_SHOWN = {"recall": "Recall", "precision": "Precision", "ndcg": "NDCG", "hr": "HR"}


def _figures(metrics: Mapping[str, float], part: str) -> str:
    """Recall, precision, NDCG and hit ratio of one part of the split, at its largest cut-off."""
    from contracts.metric_names import figures_of

    found = figures_of(metrics, part)
    depth = max(k for _, k in found)
    return "  ".join(
        f"{shown}@{depth} {found[name, depth]:.4f}" for name, shown in _SHOWN.items() if (name, depth) in found
    )


def _missing(metrics: Mapping[str, float]) -> str:
    """A line for each modality that some items lack."""
    from training.outcome import missing_items

    return "".join(
        f"\n  {name} missing for {count:,} of {metrics['items']:,.0f} items ({count / metrics['items']:.1%}); masked"
        for name, count in missing_items(metrics).items()
    )


def _assignments(option: str, given: list[str], example: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for assignment in given:
        name, separator, value = assignment.partition("=")
        if not separator or not name:
            raise BadInput(
                f"option {option} {assignment!r}",
                found="no NAME=VALUE" if name else "no name before the equals sign",
                expected=f"an assignment such as {example}",
                next_step=f"write it as `{option} NAME=VALUE`",
            )
        found[name.strip()] = value.strip()
    return found


def _told(document: Mapping[str, Any]) -> list[str]:
    """What a tuning's document says, for people."""
    trials, best, metric = document["trials"], document["best"], document["metric"]
    states = [trial["state"] for trial in trials]
    counts = f"{states.count('PRUNED')} pruned, {states.count('FAIL')} failed"
    lines = [f"Tuning {document['study']}: {len(trials)} trials, {counts}"]
    if best is None:
        return [*lines, "  No trial has come to its end: run the same command again, with more trials or more time"]
    if (default := trials[0]["value"]) is not None:
        lines.append(f"  defaults  validation {metric} {default:.4f}")
    gain = "" if document["gain"] is None else f" ({document['gain']:+.4f})"
    lines.append(f"  best      validation {metric} {best['value']:.4f}{gain}, trial {best['number']}")
    return [*lines, *(f"            {name} {value}" for name, value in best["options"].items())]


def _command_of(model: str, options: Mapping[str, object], seed: int, words: Mapping[str, object]) -> str:
    """The command line that trains a model so, with those of the words that were given."""
    import shlex

    typed = ["backbeat", "train", model]
    for name, value in options.items():
        typed += ["--set", f"{name}={value}"]
    for name, value in {"seed": seed, **words}.items():
        typed += [f"--{name}", str(value)] if value else []
    return shlex.join(typed)


def _asked(study: str | None, model: str, service: str | None) -> "AskedStudy":
    """What is held out and on which service, as ``--study`` and ``--service`` say."""
    from training.experiments.catalogue import TABLES
    from training.experiments.lookup import AskedStudy, asked_study

    if study is None:
        return AskedStudy(None, service, None)
    asked = asked_study(study, model, TABLES)
    return asked._replace(service=service or asked.service)


def _require_its_data(asked: "AskedStudy", home: "Home") -> None:
    """A study is about one data set."""
    from feature_repo.offline import current_snapshot
    from training.experiments.lookup import require_data

    if asked.table is not None:
        require_data(asked.table, current_snapshot(home))


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
