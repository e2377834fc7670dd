"""`pneumoscan doctor`: check this machine, and say what to do."""

from typing import TYPE_CHECKING

import click

from pneumoscan.errors import EnvironmentProblemError

if TYPE_CHECKING:
    from pneumoscan.doctor import Check


@click.command(short_help="Check this machine: packages, folders, memory.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def doctor(as_json: bool) -> None:
    """Check Python, packages, processors, memory, folders and codecs. The exit code is 6 if something must be fixed."""
    from pneumoscan.doctor import diagnose

    findings = diagnose()
    print(_json(findings) if as_json else _table(findings))
    failed = [finding.name for finding in findings if finding.status == "fail"]
    if failed:
        raise EnvironmentProblemError(
            f"pneumoscan does not work here: {', '.join(failed)}.", "The report says what to do."
        )


def _json(findings: "list[Check]") -> str:
    import json
    from dataclasses import asdict

    usable = all(finding.status != "fail" for finding in findings)
    return json.dumps({"usable": usable, "findings": [asdict(finding) for finding in findings]}, indent=2)


def _table(findings: "list[Check]") -> str:
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.status:<4}  {finding.name:<{width}}  {finding.value}")
        if finding.remedy:
            lines.append(f"{'':<{width + 6}}  - {finding.remedy}")
    return "\n".join(lines)
