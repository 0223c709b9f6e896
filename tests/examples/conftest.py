"""What the session of examples prints at its end: how many ran, and which did not, and why."""


def pytest_terminal_summary(terminalreporter):
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    lines = [line for report in reports for name, line in report.user_properties if name == "not run"]
    counts = [value for report in reports for name, value in report.user_properties if name == "ran"]
    terminalreporter.section("examples")
    terminalreporter.line(f"{sum(counts)} examples ran; {len(lines)} did not run here:")
    for line in sorted(lines):
        terminalreporter.line(line)
