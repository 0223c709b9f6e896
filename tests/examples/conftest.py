"""What the session of examples prints at its end: how many ran, and which did not, and why."""

from pathlib import Path

import pytest


def pytest_terminal_summary(terminalreporter):
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    lines = [line for report in reports for name, line in report.user_properties if name == "not run"]
    counts = [value for report in reports for name, value in report.user_properties if name == "ran"]
    terminalreporter.section("examples")
    terminalreporter.line(f"{sum(counts)} examples ran; {len(lines)} did not run here:")
    for line in sorted(lines):
        terminalreporter.line(line)


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """Where the files of published weights lie. Each process has its own: several would write the same file."""
    return tmp_path_factory.mktemp("cache")
