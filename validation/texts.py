"""Reports in a few lines of text, for the command line and for errors."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from contracts.reports import Finding, PastReport, SuiteVerdict, ValidationReport

__all__ = [
    "changed_sentence",
    "compared_with",
    "differences_text",
    "history_text",
    "impact_lines",
    "impact_text",
    "left_out",
    "quarantine_sentence",
    "remark_sentences",
    "report_text",
    "worst_findings",
    "worst_sentences",
]

_MOST_LINES = 30
"""About what a terminal shows at once."""
_VERDICTS = {
    "passed": "passed",
    "failed": "FAILED",
    "uncompared": "NOT ACCEPTED, though it passes",
    "overridden": "FAILED, accepted all the same",
}


def worst_findings(report: ValidationReport, limit: int | None = None) -> list[tuple[SuiteVerdict, Finding]]:
    """The gravest findings of all suites, worst first; among equals those first that name items."""
    found = [(verdict, finding) for verdict in report.suites for finding in verdict.findings]
    return sorted(found, key=lambda pair: (-pair[1].severity, not pair[1].examples))[:limit]


def worst_sentences(report: ValidationReport, limit: int = 3) -> list[str]:
    """The gravest findings, each as ``table: what was expected: what was found (for example these)``."""
    return [_plain(_sentence(verdict, finding)) for verdict, finding in worst_findings(report, limit)]


def compared_with(report: ValidationReport) -> str:
    """What the report was judged against, in words."""
    if report.declined is not None:
        by_what = "absolute rules only" if report.baseline is None else f"compared with {report.baseline} instead"
        return f"comparison with accepted snapshot {report.declined} was declined: {by_what}"
    if report.baseline is None:
        return "no accepted snapshot of this data set before: absolute rules only"
    if not report.learned_from:
        return f"compared with accepted snapshot {report.baseline}"
    return f"compared with accepted snapshot {report.baseline}; bands learned from {report.learned_from} accepted " + (
        "snapshot" if report.learned_from == 1 else "snapshots"
    )


def left_out(report: ValidationReport) -> list[str]:
    """What was not judged and why, once for all tables that it concerns."""
    concerned: dict[str, list[str]] = {}
    for verdict in report.suites:
        for note in verdict.notes:
            concerned.setdefault(note, []).append(verdict.table)
    return [*report.notes, *(f"{', '.join(_cut(tables, 3))}: {note}" for note, tables in concerned.items())]


def quarantine_sentence(report: ValidationReport) -> list[str]:
    """One sentence for each table that is set apart."""
    ways = {
        "drop": "can be left out with --quarantine",
        "replace": "the last accepted snapshot's can take their place with --quarantine",
        "none": "has to be mended by hand",
    }
    otherwise = {
        None: "",
        "replace": "; if that is not enough, the accepted vectors take their place",
        "none": "; whether that is enough is judged then, and nothing else can be done but by hand",
    }
    return [
        f"{part.table}: {'the whole table' if part.whole else f'{part.rows:,} rows'} ({part.reason}); "
        f"{ways[part.remedy]}{otherwise[part.otherwise]}" + (f"; rows in {part.file}" if part.file else "")
        for part in report.quarantine
    ]


def remark_sentences(report: ValidationReport) -> list[str]:
    """What had been done to the snapshot, or decided about it, before it was judged."""
    return [_plain(line) for line in report.remarks]


def changed_sentence(report: ValidationReport, tables: Sequence[str], *, current: bool) -> str:
    """What follows from files that are no more those that were judged."""
    gate = ": the gate is closed" if report.accepted else ""
    first = "" if current else "make the snapshot current again by ingesting it, and "
    return f"Files of {', '.join(tables)} have changed since, or are gone{gate}; {first}run `backbeat validate run`"


def report_text(report: ValidationReport) -> str:
    """The verdict in at most about 30 lines: what it was compared with, the three worst findings and what to do, a
    line for each suite (the ones that hold in one line where there are many), and where the pages are."""
    head = [f"Snapshot {report.snapshot}: {_verdict_words(report)}, report {report.id} ({compared_with(report)})"]
    for place, (verdict, finding) in enumerate(worst_findings(report, 3), start=1):
        head.append(f"  {place}. {_sentence(verdict, finding)}")
        if finding.advice:
            head.append(f"     Do: {finding.advice}")
    tail = [f"Quarantine: {line}" for line in _cut(quarantine_sentence(report), 3)]
    if report.baseline is not None:  # without one the first line has said it
        tail += [f"Not judged: {line}" for line in _cut(left_out(report), 2)]
    if report.parent is not None:
        tail.append(f"Mended after report {report.parent}")
    tail += [f"Before: {line}" for line in _cut(report.remarks, 3)]
    if report.override is not None:
        when = report.override.at.strftime("%Y-%m-%d %H:%M")
        tail.append(f"Accepted by {report.override.actor} at {when} UTC: {report.override.reason}")
    if report.impact is not None:
        tail += impact_text(report.impact).splitlines()
    tail.append(f"Data docs: {report.data_docs}")
    room = max(_MOST_LINES - len(head) - len(tail), 5)
    return "\n".join(_plain(line) for line in [*head, *_suite_lines(report.suites, room), *tail])


def _verdict_words(report: ValidationReport) -> str:
    if report.verdict == "overridden" and report.success:
        return "passed, accepted without the comparison"
    return _VERDICTS[report.verdict]


def history_text(rows: Sequence[PastReport]) -> str:
    """Past reports as lines of a table, in the order given."""
    if not rows:
        return "No validation report yet. Next: run `backbeat validate run`"
    cells = [
        (
            row.created_at.strftime("%Y-%m-%d %H:%M"),
            row.id,
            row.dataset or "-",
            row.snapshot,
            row.verdict,
            ", ".join(_cut(row.failed, 3)),
        )
        for row in rows
    ]
    lines = [("TIME (UTC)", "REPORT", "DATA SET", "SNAPSHOT", "VERDICT", "FAILED SUITES"), *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(
        _plain("  ".join([*(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False)), line[5]])).rstrip()
        for line in lines
    )


def differences_text(document: Mapping[str, Any]) -> str:
    """How the vectors of two snapshots differ: what :func:`validation.differences.differences` found, by table."""
    lines = [f"Snapshot {document['snapshot']} against {document['against']}, not judged:"]
    for view in document["views"]:
        lines += [f"  {view['table']} (feature view {view['view']})", *_paired_lines(view["paired"])]
        lines += _drift_lines(view["drift"])
    lines += [f"  {table}: not compared: {why}" for table, why in document["not_compared"].items()]
    if len(lines) == 1:
        lines.append("  there is no table of vectors to compare")
    return "\n".join(_plain(line) for line in lines)


def _paired_lines(paired: Mapping[str, Any]) -> list[str]:
    lines = [f"    {paired['common']:,} items in both, {paired['new']:,} new, {paired['lost']:,} gone"]
    facts = [
        (paired["changed_share"], "{:.2%} of those in both changed"),
        (paired["noise_share"], "{:.2%} differ by no more than rounding"),
        (paired["moved_share"], "{:.2%} carry another item's former vector"),
        (paired["neighbour_overlap"], "{:.1%} of the nearest neighbours are kept"),
        (paired["shift"], "mean shifted by {:.3g} standard deviations"),
    ]
    told = [words.format(value) for value, words in facts if value is not None]
    if told:
        lines.append(f"    {'; '.join(told)}")
    if paired["changed"]:
        worst = [f"{item} ({distance:.3g} sd)" for item, distance in paired["changed"][:5]]
        lines.append(f"    changed most: {', '.join(worst)}")
    if paired["moved"]:
        swaps = [f"{item} (has {other}'s)" for item, other in paired["moved"][:5]]
        lines.append(f"    another item's vector: {', '.join(swaps)}")
    return lines


def _drift_lines(drift: Mapping[str, Any] | None) -> list[str]:
    if drift is None:
        return ["    new items: too few to tell whether they drift"]
    tests = [
        f"{name} p {p:.2g}, effect {drift['effects'].get(name, 0.0):.2g}"
        for name, p in sorted(drift["p_values"].items(), key=lambda pair: pair[1])
    ]
    lines = [f"    {drift['new']:,} new items against {drift['reference']:,}: {'; '.join(tests)}"]
    if drift["items"]:
        far = [f"{item} ({distance:.3g} times the usual distance)" for item, distance in drift["items"][:5]]
        lines.append(f"    new items farthest off: {', '.join(far)}")
    return lines


def impact_text(impact: Mapping[str, Any]) -> str:
    """What the champion's lists would lose with the snapshot, in a few lines."""
    first, *others = impact_lines(impact)
    return "\n".join([f"Impact: {_plain(first)}", *(f"  {_plain(line)}" for line in others)])


def impact_lines(impact: Mapping[str, Any]) -> list[str]:
    """The same as sentences; what was not measured is left out."""
    if "missing" in impact:
        return [str(impact["missing"])]
    model = " ".join(str(impact[key]) for key in ("champion", "model") if key in impact)
    lines = [f"champion {model} on {impact.get('surface', '-')}, {impact.get('users', 0):,} users' lists compared"]
    churn = [f"{share:.1%} of the top-{k} places" for k, share in impact.get("churn", {}).items()]
    if churn:
        first = impact.get("first_changed")
        other = f"; another first item for {first:.1%} of the users" if first is not None else ""
        lines.append(f"{' and '.join(churn)} would change{other}")
    for name, metric in impact.get("metrics", {}).items():
        lines.append(_metric_line(name, metric))
    coverage = impact.get("coverage")
    if coverage:
        lines.append(f"share of the items that stand in some list: {coverage['before']:.1%} -> {coverage['after']:.1%}")
    items = impact.get("items")
    if items:
        listed = f", {items['new_listed']:,} of them listed" if items.get("new_listed") is not None else ""
        lines.append(
            f"{items.get('entering', 0):,} items enter the lists, {items.get('leaving', 0):,} leave them; "
            f"{items.get('new', 0):,} items are new to the champion{listed}"
        )
    if impact.get("reads_content") is False:
        lines.append("the champion reads no embeddings: only the events matter to it")
    return lines + _cut([str(one) for one in impact.get("notes", [])], 3)


def _metric_line(name: str, metric: Mapping[str, float]) -> str:
    line = f"{name}: {metric['before']:.4f} -> {metric['after']:.4f}, change {metric['change']:+.4f}"
    if metric.get("low") is None or metric.get("high") is None:
        return line
    return f"{line} (95 % interval {metric['low']:+.4f} to {metric['high']:+.4f})"


def _suite_lines(suites: Sequence[SuiteVerdict], room: int) -> list[str]:
    failed = [verdict for verdict in suites if not verdict.success]
    held = [verdict for verdict in suites if verdict.success]
    widths = [max((len(getattr(verdict, field)) for verdict in suites), default=0) for field in ("suite", "table")]
    lines = [_suite_line(verdict, widths) for verdict in failed[: room - 1]]
    if len(failed) > len(lines):
        lines[-1:] = [f"  NO   {len(failed) - len(lines) + 1} more"]
    if len(held) <= room - len(lines):
        return lines + [_suite_line(verdict, widths) for verdict in held]
    count = sum(verdict.evaluated for verdict in held)
    names = ", ".join(
        verdict.table if verdict.table == verdict.suite else f"{verdict.suite}/{verdict.table}" for verdict in held
    )
    return [*lines, f"  ok   {len(held)} {'more ' if failed else ''}suites, all {count} expectations hold: {names}"]


def _suite_line(verdict: SuiteVerdict, widths: Sequence[int]) -> str:
    held = verdict.evaluated - len(verdict.findings)
    name = f"{verdict.suite:<{widths[0]}}  {verdict.table:<{widths[1]}}"
    return f"  {'ok ' if verdict.success else 'NO '}  {name}  {held} of {verdict.evaluated} expectations hold"


def _sentence(verdict: SuiteVerdict, finding: Finding) -> str:
    examples = f" (for example {', '.join(finding.examples[:2])})" if finding.examples else ""
    return f"{verdict.table}: {finding.rule}: {finding.observed}{examples}"


def _cut(lines: Iterable[str], limit: int) -> list[str]:
    every = list(lines)
    return every if len(every) <= limit else [*every[:limit], f"and {len(every) - limit} more"]


def _plain(text: str) -> str:
    # An id may hold what a terminal takes for a command, or a line break.
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
