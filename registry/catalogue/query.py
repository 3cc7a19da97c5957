"""Questions to the catalogue: filter, sort, search and page, as they stand in a page's address."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy import Select, and_, func, literal, select
from sqlalchemy.orm import Session

from contracts.catalogue_rows import CatalogueBodyRow, CatalogueMetricRow, CatalogueTextRow, CatalogueVersionRow
from contracts.errors import unknown_name

__all__ = [
    "FACETS",
    "SORTS",
    "ListedVersion",
    "VersionPage",
    "VersionQuery",
    "facets",
    "listed",
    "metric_names",
    "run_query",
]

_V = CatalogueVersionRow

SORTS: Final = {
    "version": _V.number,
    "model": _V.model,
    "variant": _V.variant,
    "stage": _V.state,
    "author": _V.author,
    "created": _V.created_at,
    "protocol": _V.protocol,
    "snapshot": _V.snapshot,
    "primary": _V.primary,
    "low": _V.low,
    "high": _V.high,
}
"""Name in the address → column; any other name is that of a metric."""

FACETS: Final = {
    "model": _V.model,
    "variant": _V.variant,
    "stage": _V.state,
    "author": _V.author,
    "protocol": _V.protocol,
    "snapshot": _V.snapshot,
}
"""What can be filtered by choosing a value."""

_MOST_FACETS = 200


def _absent_if_empty(value: Any) -> Any:
    # A form sends its empty fields too.
    return None if isinstance(value, str) and not value.strip() else value


Maybe = BeforeValidator(_absent_if_empty)
Text = Annotated[Annotated[str, Field(max_length=256)] | None, Maybe]
Number = Annotated[Annotated[float, Field(allow_inf_nan=False)] | None, Maybe]


class VersionQuery(BaseModel):
    """What a table of versions shows; its fields are the parameters of the page's address."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    model: Text = None
    """Only versions of this model."""
    variant: Text = None
    """Only of this variant."""
    stage: Text = None
    """Only in this state."""
    author: Text = None
    """Only by this author."""
    protocol: Text = None
    """Only measured by the protocol of this fingerprint."""
    snapshot: Text = None
    """Only trained on this snapshot."""
    q: Text = None
    """Only those whose names, tags or configuration hold every one of these words."""
    metric: Text = None
    """A metric to show, and to which the next two apply; the surface's primary one if none is named."""
    least: Number = None
    """Only where the metric is at least this."""
    most: Number = None
    """Only where the metric is at most this."""
    sort: str = Field(default="-version", max_length=256)
    """A column or a metric, with ``-`` before it for descending."""
    page: int = Field(default=1, ge=1, le=1_000_000)
    """Counts from 1."""
    size: int = Field(default=50, ge=1, le=500)
    """Rows of a page."""

    def address(self, **changes: object) -> str:
        """This query as the end of an address, with changes; what is as by default is left out."""
        values = {**self.model_dump(), **changes}
        plain = {name: field.default for name, field in VersionQuery.model_fields.items()}
        kept = {name: value for name, value in values.items() if value is not None and value != plain.get(name)}
        return f"?{urlencode(kept)}" if kept else "?"

    @property
    def is_filtered(self) -> bool:
        """Whether it leaves anything out."""
        return any(getattr(self, name) is not None for name in (*FACETS, "q", "least", "most"))


class ListedVersion(BaseModel):
    """One row of a table of versions."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    surface: str
    version: str
    model: str
    variant: str
    stage: str
    aliases: list[str]
    author: str
    created_at: AwareDatetime
    protocol: str
    """Fingerprint of how it was measured; figures of different ones are not comparable."""
    snapshot: str
    primary: float | None
    """The surface's primary metric."""
    low: float | None
    """Bounds of its 95 % interval, where training logged them."""
    high: float | None
    run_id: str
    metrics: dict[str, float | None] = {}
    """Those that the table shows."""


class VersionPage(BaseModel):
    """A page of a table of versions."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    versions: list[ListedVersion]
    total: int
    """Versions that the query lets through."""
    page: int
    pages: int


def run_query(
    session: Session, surface: str, query: VersionQuery, primary: str, shown: Sequence[str] = ()
) -> VersionPage:
    """One page of the versions of a surface.

    Args:
        session: On the platform's tables.
        surface: Registered model.
        query: What is wanted.
        primary: Name of the surface's primary metric.
        shown: Metrics to give with each row.

    Raises:
        NotFound: It is to be sorted or filtered by a metric that no version has.
    """
    # Numbers are sorted, and counted by the way: a search reads every text, so it is done once.
    chosen = _filtered(session, select(_V.number, func.count().over()), surface, query, primary)
    ordered = _ordered(session, chosen, surface, query, primary)
    found = session.execute(ordered.limit(query.size).offset((query.page - 1) * query.size)).all()
    total = found[0][1] if found else 0
    if not found and query.page > 1:
        counted = _filtered(session, select(func.count()).select_from(_V), surface, query, primary)
        total = session.execute(counted).scalar() or 0
    numbers = [number for number, _ in found]
    by_number = {v.number: v for v in session.query(_V).where(_V.surface == surface, _V.number.in_(numbers))}
    rows = [by_number[number] for number in numbers if number in by_number]
    wanted = [*shown, *([query.metric] if query.metric else [])]
    name = query.sort.lstrip("-")
    if name not in SORTS:
        wanted.append(name)
    metrics = _metrics(session, surface, numbers, wanted)
    return VersionPage(
        versions=[listed(row, metrics.get(row.number, {})) for row in rows],
        total=total,
        page=query.page,
        pages=max(1, -(-total // query.size)),
    )


def listed(row: CatalogueVersionRow, metrics: Mapping[str, float | None]) -> ListedVersion:
    """A row as a page's JSON has it."""
    return ListedVersion(
        surface=row.surface,
        version=str(row.number),
        model=row.model,
        variant=row.variant,
        stage=row.state,
        aliases=row.aliases,
        author=row.author,
        created_at=row.created_at,
        protocol=row.protocol,
        snapshot=row.snapshot,
        primary=row.primary,
        low=row.low,
        high=row.high,
        run_id=row.run_id,
        metrics=dict(metrics),
    )


def _filtered(session: Session, chosen: Any, surface: str, query: VersionQuery, primary: str) -> Any:
    chosen = chosen.where(_V.surface == surface)
    for name, column in FACETS.items():
        if (value := getattr(query, name)) is not None:
            chosen = chosen.where(column == value)
    words = (query.q or "").lower().split()
    if words:
        text = CatalogueTextRow
        holds = and_(*(_position(session, text.text, word) > 0 for word in words))
        chosen = chosen.where(
            _V.number.in_(select(text.number).where(text.surface == surface, holds))
            | _V.number.in_([int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 10])
        )
    if query.least is not None or query.most is not None:
        name = query.metric or primary
        if name == primary:
            value, bounded = _V.primary, chosen
        else:
            _require_metric(session, surface, name)
            value, bounded = CatalogueMetricRow.value, _joined(chosen, surface, name, outer=False)
        if query.least is not None:
            bounded = bounded.where(value >= query.least)
        if query.most is not None:
            bounded = bounded.where(value <= query.most)
        return bounded
    return chosen


def _position(session: Session, column: Any, word: str) -> Any:
    # LIKE folds case on SQLite, letter by letter; both sides are lower case already.
    function = func.strpos if session.get_bind().dialect.name == "postgresql" else func.instr
    return function(column, literal(word))


def _joined(chosen: Select[Any], surface: str, name: str, *, outer: bool) -> Select[Any]:
    metric = CatalogueMetricRow
    on = and_(metric.surface == surface, metric.name == name, metric.number == _V.number)
    return chosen.join(metric, on, isouter=outer)


def _ordered(session: Session, chosen: Select[Any], surface: str, query: VersionQuery, primary: str) -> Select[Any]:
    name = query.sort.lstrip("-")
    column: Any = SORTS.get("primary" if name == primary else name)
    if column is None:
        _require_metric(session, surface, name)
        bounds = query.least is not None or query.most is not None
        if not (bounds and query.metric == name):
            from sqlalchemy.orm import aliased

            sorting = aliased(CatalogueMetricRow)
            on = and_(sorting.surface == surface, sorting.name == name, sorting.number == _V.number)
            chosen, column = chosen.join(sorting, on, isouter=True), sorting.value
        else:
            column = CatalogueMetricRow.value
    ordered = column.desc() if query.sort.startswith("-") else column.asc()
    return chosen.order_by(ordered.nulls_last(), _V.number.desc())


def _require_metric(session: Session, surface: str, name: str) -> None:
    metric = CatalogueMetricRow
    known = select(metric.number).where(metric.surface == surface, metric.name == name).limit(1)
    if session.execute(known).first() is None:
        names = [*SORTS, *metric_names(session, surface)]
        raise unknown_name("metric", name, names, next_step="choose one of these in the address")


def _metrics(
    session: Session, surface: str, numbers: Sequence[int], names: Sequence[str]
) -> dict[int, dict[str, float | None]]:
    if not names or not numbers:
        return {}
    body = CatalogueBodyRow
    chosen = select(body.number, body.metrics).where(body.surface == surface, body.number.in_(numbers))
    return {number: {name: found.get(name) for name in names} for number, found in session.execute(chosen)}


def metric_names(session: Session, surface: str) -> list[str]:
    """Names of all metrics that a version of the surface has, sorted."""
    return list(_steps(session, surface))


def _steps(session: Session, surface: str) -> Iterator[str]:
    # From name to name through the index; DISTINCT would read a row for every metric of every version.
    metric, last = CatalogueMetricRow, ""
    while True:
        following = select(func.min(metric.name)).where(metric.surface == surface, metric.name > last)
        last = session.execute(following).scalar() or ""
        if not last:
            return
        yield last


def facets(session: Session, surface: str) -> dict[str, list[tuple[str, int]]]:
    """Facet → its values with how many versions have each, the most frequent first, at most 200 of them."""
    found = {}
    for name, column in FACETS.items():
        counted = select(column, func.count()).where(_V.surface == surface).group_by(column)
        rows = session.execute(counted.order_by(func.count().desc(), column).limit(_MOST_FACETS)).all()
        found[name] = [(value, count) for value, count in rows if value]
    return found
