"""A report of an experiment, for people at a terminal."""

from contracts.experiments import ArmReport, Report
from contracts.verdict import LiveVerdict

__all__ = ["reported"]


def reported(report: Report) -> str:
    """The report as text."""
    against = f" against version {report.challenger}" if report.challenger else ""
    lines = [
        f"{report.experiment}: {report.mode} on {report.surface}, champion version {report.champion}{against}; "
        f"{report.requests:,} requests of {report.users:,} users"
    ]
    lines += [_arm(arm) for arm in report.arms]
    if (split := report.split) is not None:
        users = ", ".join(f"{arm} {n:,} of {split.expected[arm]:,.0f} expected" for arm, n in split.users.items())
        word = "BROKEN" if split.broken else "as it should be"
        lines.append(f"  split             {word}: {users} (p {split.always_valid_p:.3g})")
    if (liked := report.preference) is not None:
        lines.append(
            f"  preference        {liked.value:+.3f} ({liked.low:+.3f} to {liked.high:+.3f}) per request: challenger "
            f"{liked.challenger_wins:,} wins, champion {liked.champion_wins:,}, of {liked.requests:,} requests"
        )
    if report.adjusted:
        left = ", ".join(f"{name} {share:.0%}" for name, share in report.adjusted.items())
        lines.append(f"  variance left     {left} once users' earlier behaviour is taken into account (CUPED)")
    if report.verdict is not None:
        lines += _verdict(report.verdict)
    for version, verdict in report.shadows.items():
        lines.append(f"  shadow {version:<11}{verdict.sentence}")
    if report.mode == "exploration" and not report.shadows:
        lines.append("  no shadow has answered beside it yet: what is explored values their lists")
    return "\n".join(lines)


def _arm(arm: ArmReport) -> str:
    climbs = ", ".join(f"{count} to {k}" for k, count in arm.climbing.items())
    said = [
        f"{arm.users:,} users, {arm.requests:,} requests, {arm.errors:,} errors, {arm.impressions:,} impressions",
        f"ctr {_share(arm.ctr)}, like {_share(arm.like)}, follow {_share(arm.follow)}, "
        f"watch time {'-' if arm.watch_time is None else f'{arm.watch_time:.2f} s'}, cold {_share(arm.coverage)}",
        f"climbed: {climbs}; p99 {'-' if arm.p99_ms is None else f'{arm.p99_ms:.1f} ms'}",
    ]
    return f"  {arm.arm:<18}" + ("\n" + " " * 20).join([f"version {arm.version}; {said[0]}", *said[1:]])


def _verdict(verdict: LiveVerdict) -> list[str]:
    more = "cannot be told" if verdict.more_requests is None else f"{verdict.more_requests:,} of each arm"
    return [f"  verdict           {verdict.sentence}", f"  still needed      {more}"]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
