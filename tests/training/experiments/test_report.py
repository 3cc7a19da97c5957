"""What a reader sees of a table: by hand, and the committed page."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contracts.errors import BadInput
from training.experiments.catalogue import TABLES
from training.experiments.pages import picture_of, read_results, render_page, write_result
from training.experiments.pictures import draw_table
from training.experiments.report import list_tables, markdown_of, orderings_of, panels_of, text_of
from training.experiments.results import Measured, RowResult, SeedResult, TableResult
from training.experiments.tables import Table

DOCS = Path(__file__).resolve().parents[3] / "docs"
Make = Callable[..., TableResult]


def row(label: str, *recalls: float, **facts: Any) -> RowResult:
    """Seeds from 0; NDCG is half of recall."""
    measured = Measured(
        model="mf",
        variant="default",
        options={"variant": "default", "dimension": 8},
        config="c",
        service="interactions_v1",
        protocol="p",
    )
    seeds = [
        SeedResult(
            seed=seed,
            figures={"R@20": value, "R@10": 0.8 * value, "N@20": value / 2},
            seconds=60.0 * (seed + 1),
            surface="video-feed",
            version=str(seed + 1),
            run_id="run",
        )
        for seed, value in enumerate(recalls)
    ]
    given = {"measured": measured, "seeds": tuple(seeds), "code_revision": "0123456789abcdef-dirty"}
    return RowResult(label=label, **{**given, **facts})


@pytest.fixture
def made(table: Table) -> Make:
    """A result of the small table with other rows, or anything else."""

    def make(*rows: RowResult, **changes: Any) -> TableResult:
        given: dict[str, Any] = {
            "rows": rows,
            "snapshot": "s",
            "protocols": {"p": "by instants; ranked: all items"},
            "command": "backbeat experiment small --seeds 0,1,2",
            "finished": datetime(2000, 1, 2, tzinfo=UTC),
        }
        return TableResult.of(table, **given).model_copy(update=changes)

    return make


@pytest.fixture
def result(made: Make) -> TableResult:
    return made(
        row("Popularity", 0.5),
        row("MF", 0.4, 0.5, 0.6, paper={"R@20": 0.9, "N@20": 0.45}, tuned="by hand"),
        RowResult(label="Printed", paper={"R@20": 0.7}),
        row("Broken", not_run="no texts"),
    )


def test_mean_and_sample_deviation_by_hand(result: TableResult) -> None:
    figure = result.rows[1].figure("R@20")
    assert figure is not None
    assert (figure.mean, figure.deviation) == (pytest.approx(0.5), pytest.approx(0.1))
    assert result.rows[0].figure("R@20").deviation is None  # type: ignore[union-attr]
    assert result.rows[2].figure("R@20") is None
    assert result.rows[1].seconds == 120
    assert result.seconds == 60 + 60 + 120 + 180


def test_rows_are_compared_over_the_seeds_that_both_have(made: Make) -> None:
    better, worse, chance = row("MF", 0.4, 0.5, 0.9), row("Popularity", 0.3, 0.2), row("Chance", 0.1)
    gap = better.difference(worse, "R@20")
    assert gap is not None
    assert (gap.mean, gap.deviation) == (pytest.approx(0.2), pytest.approx(0.1 * 2**0.5))
    # What is not drawn by chance stands against every seed.
    always = chance.model_copy(update={"seeds": (chance.seeds[0].model_copy(update={"seed": None}),)})
    gap = better.difference(always, "R@20")
    assert gap is not None
    assert gap.mean == pytest.approx(0.5)
    assert better.difference(row("None"), "R@20") is None
    (ordering, missing) = orderings_of(made(better, worse, RowResult(label="Printed", paper={"R@20": 0.7})))
    assert (ordering.holds, ordering.paper, ordering.ratio) == (True, None, pytest.approx(0.6 / 0.25))
    assert (missing.holds, missing.measured, missing.ratio) == (None, None, None)


def test_the_terminal_shows_paper_and_measured_side_by_side(result: TableResult) -> None:
    assert text_of(result).splitlines() == [
        "small: Groups of users who see the same videos (A paper, Table 1)",
        "on blocks (simulated), snapshot s",
        "",
        "            R@20 paper         measured  N@20 paper         measured",
        "Popularity           –           0.5000           –           0.2500",
        "MF              0.9000  0.5000 ± 0.1000      0.4500  0.2500 ± 0.0500",
        "Printed         0.7000                –           –                –",
        "Broken               –          not run           –          not run",
        "",
        "Broken: no texts",
        "",
        "Orderings, in R@20:",
        "  MF over Popularity: does not hold, lower by 0.1000, ×1.00",
        "  MF over Printed: not measured (paper: by 0.2000)",
    ]


def test_the_page_has_the_best_in_bold_and_says_where_it_comes_from(result: TableResult) -> None:
    text = markdown_of(result, "small.png")
    assert (
        "**Groups of users who see the same videos.** A paper, Table 1. Data: blocks (simulated), snapshot s." in text
    )
    assert "| MF | **0.9000** | **0.5000 ± 0.1000** | 0.4500 | **0.2500 ± 0.0500** |" in text
    assert "| Printed | 0.7000 | – | – | – |" in text
    assert "- Broken: no texts\n" in text
    assert "![Groups of users who see the same videos](small.png)" in text
    assert (
        "| MF | mf (default) | `dimension=8` | by hand | 0, 1, 2 | 120.0 | video-feed 1, 2, 3 | `0123456789ab-dirty` |"
    ) in text
    assert "- Protocol `p`: by instants; ranked: all items.\n" in text
    assert text.endswith(
        "```console\nbackbeat ingest mmssl blocks\nbackbeat features apply\n" + result.command + "\n```\n"
    )


def test_without_figures_of_a_paper_there_is_one_column_for_each_metric(made: Make) -> None:
    text = text_of(made(row("MF", 0.5), row("Popularity", 0.4)))
    assert "              R@20    N@20\n" in text
    assert "paper" not in text.splitlines()[3]
    assert "MF over Popularity: holds, by 0.1000, ×1.25" in text


def test_many_columns_are_cut_by_metric_and_groups_have_headings(made: Make) -> None:
    columns = tuple(f"{metric}@{k}" for metric in ("rec", "pre") for k in (20, 10, 30))
    rows = [row(label, group=group) for group in ("few", "many") for label in ("MF", "Popularity")]
    wide = made(*rows, columns=columns)
    assert panels_of(wide) == [list(columns[:3]), list(columns[3:])]
    assert "| **many** |  |  |  |\n| MF |" in markdown_of(wide, "x.png")
    assert [claim.better.key for claim in orderings_of(wide)] == ["few/MF", "many/MF"]


def test_every_table_is_listed() -> None:
    listed = list_tables(TABLES.values())
    assert [line.split()[0] for line in listed.splitlines()] == list(TABLES)


@pytest.mark.parametrize("picture", ["bars", "lines"])
@pytest.mark.parametrize("groups", [(), ("one", "two"), ("size = 1", "size = 2")])
def test_a_picture_shows_every_row(made: Make, tmp_path: Path, picture: str, groups: tuple[str, ...]) -> None:
    labels = ["MF", "Popularity", "A rather long name of a model"]
    rows = [row(label, 0.4 + place / 9, 0.5 + place / 9, paper={"R@20": 0.9}) for place, label in enumerate(labels)]
    if groups:
        rows = [each.model_copy(update={"group": group}) for group in groups for each in rows]
    sizes = []
    for shown in (rows, [each.model_copy(update={"seeds": ()}) for each in rows]):
        draw_table(tmp_path / "picture.png", made(*shown, picture=picture, columns=("R@20", "R@10", "N@20")))
        with Image.open(tmp_path / "picture.png") as image:
            pixels = np.asarray(image.convert("RGB"))
        # Blue is what is measured: the bars, or the line of the first row.
        sizes.append(int((pixels == (0x00, 0x72, 0xB2)).all(axis=2).sum()))
        assert pixels.shape[1] > 600
    assert sizes[0] > 500
    assert sizes[0] > 2 * sizes[1]


def test_a_long_title_is_on_the_picture_to_its_end(made: Make, tmp_path: Path) -> None:
    result = made(row("MF", 0.5), columns=("R@20",)).model_copy(update={"title": "what is said at great length " * 6})
    draw_table(tmp_path / "picture.png", result)
    with Image.open(tmp_path / "picture.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert (pixels[:, -3:] == pixels[0, -1]).all(), "nothing runs out of the picture"


def test_a_table_takes_the_place_of_its_older_self(made: Make, tmp_path: Path) -> None:
    write_result(tmp_path, made(row("MF", 0.5)))
    write_result(tmp_path, made(row("MF", 0.5), name="another"))
    write_result(tmp_path, made(row("MF", 0.6)))
    known = read_results(tmp_path)
    assert list(known) == ["another", "small"]
    assert known["small"] == made(row("MF", 0.6))
    page = (tmp_path / "results.md").read_text()
    assert page == render_page(known)
    assert "| [small](#small) | blocks | simulated | 1 of 1 | 1.0 |" in page
    assert all((tmp_path / picture_of(name)).is_file() for name in known)


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"small": {"name": "small"}}', b"\xff"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(BadInput, match=r"results.json: found not what `backbeat experiment` writes"):
        read_results(tmp_path)


def test_the_committed_page_is_made_from_the_committed_figures() -> None:
    results = read_results(DOCS)
    assert (DOCS / "results.md").read_text(encoding="utf-8") == render_page(results)
    assert set(results) <= set(TABLES)
    assert all((DOCS / picture_of(name)).is_file() for name in results)
