"""The roof's own commands."""

from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.options import HomeOption, JsonOption

__all__ = ["demo", "doctor"]


def demo(
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder in the MMSSL layout; a simulated platform if not given.")
    ] = None,
    requests: Annotated[int, typer.Option(min=1, help="Requests to send to the served champion.")] = 500,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Walk the whole road: data set → features → validation → models → champion and shadow → served requests.

    Prints each command before it runs it, so you can type the same ones yourself. A second run on the same home
    goes on from there.

    Example: `backbeat demo --data path/to/tiktok`
    """
    from backbeat.demo import walk
    from contracts.console import emit
    from contracts.settings import load_settings

    summary, text = walk(load_settings(home=home), data, requests, quiet_output=as_json)
    emit(summary, as_json=as_json, text=text)
    return summary


def doctor(home: HomeOption = None, as_json: JsonOption = False) -> int:
    """Check the installation, the home and the configured services, and say what to do about each fault.

    Exits with 1 if anything is at fault.

    Example: `backbeat doctor`
    """
    from backbeat.doctor import examine
    from contracts.console import emit
    from contracts.home import Home
    from contracts.settings import load_settings

    settings = load_settings(home=home)
    findings = examine(settings, Home.open(settings))
    lines = []
    for finding in findings:
        lines.append(f"{finding.outcome:<5}  {finding.check:<12}  {finding.found}")
        if finding.next_step:
            lines.append(f"{'':<21}next: {finding.next_step}")
    faults = sum(finding.outcome == "fault" for finding in findings)
    lines.append(f"\n{faults} faults" if faults else "\nno faults")
    emit({"faults": faults, "findings": [f.as_dict() for f in findings]}, as_json=as_json, text="\n".join(lines))
    return 1 if faults else 0
