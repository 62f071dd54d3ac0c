"""Show the requests that no window has judged yet, as the next window would hold them."""

from pipelines.config import params
from pipelines.config.monitor import MonitorConfig
from pipelines.contracts.report import Check
from pipelines.monitoring import cycle, decisions, window


def run() -> int:
    """Print the checks; write only the window's table. The exit code is 0 whatever they say."""
    config = params.load().section(MonitorConfig)
    record = decisions.read()
    next_window = window.collect(config.window, record.decisions, cycle.now())
    for check in next_window.checks.checks:
        print(_line(check))
    state = next_window.problem or "can be judged"
    release_id = next_window.release_id or "no release"
    num_requests = len(next_window.table)
    print(f"\nwindow {next_window.name}: {num_requests} requests to {release_id}: {state}")
    return 0


def _line(check: Check) -> str:
    if check.passed:
        return f"good    {check.describe()}"
    examples = f" e.g. {', '.join(check.examples)}" if check.examples else ""
    return f"BROKEN  {check.describe()}{examples}"
