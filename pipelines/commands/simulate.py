"""`python -m pipelines simulate --scenario NAME`: ask the served assistant what people would ask, and give the feedback that they would give.

Every question goes the way of a real one, through the running server; the traffic log is written by serving. An outage is a real one too: the
live releases' aliases are taken out of Weaviate for its length, so that real users meet it as well.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipelines import golden
from pipelines.errors import UserError
from pipelines.monitoring import scenarios
from pipelines.monitoring.scenarios import Asked
from pipelines.serving import client, live
from pipelines.vectorstore import aliases

FOLDER, GOLDEN = Path("data/scenarios"), Path("data/golden")
CLIENTS = 8  # at once
TENANT, WHO = "simulation", "simulated user"


def run(scenario: str, requests: int, seed: int) -> int:
    """Ask, give feedback, print what came of it. Exit code 1 where no request was answered."""
    if requests < 1:
        raise UserError(f"--requests {requests}: ask at least one question")
    found = scenarios.load(FOLDER, scenario)
    client.server()
    steady = [item.question for item in golden.load(GOLDEN) if item.style != "reviewed"]
    asked = scenarios.draw(found, steady, requests, seed)
    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        outcomes = list(pool.map(_ask, [one for one in asked if not one.outage]))
        during = [one for one in asked if one.outage]
        if during:
            with _outage():
                outcomes += pool.map(_ask, during)
    answered = outcomes.count("answered")
    told = [one for one, outcome in zip(asked, outcomes, strict=True) if outcome == "answered" and one.thumb is not None]
    print(
        f"{scenario}: {found.description}\n{answered} of {requests} requests answered in {time.monotonic() - began:.1f} s, {len(told)} with a thumb, {sum(one.correction is not None for one in told)} corrected"
    )
    for outcome in sorted(set(outcomes) - {"answered"}):
        print(f"  {outcomes.count(outcome)} {outcome}")
    return 0 if answered else 1


@contextmanager
def _outage() -> Iterator[None]:
    """No release that answers finds its knowledge while the block runs. After a kill, `make serve` restores it at its start."""
    with ExitStack() as stack:
        for release_id, _ in live.routes()[0]:
            stack.enter_context(aliases.withheld(live.alias(release_id)))
        yield


def _ask(asked: Asked) -> str:
    """`answered`, or what the server said."""
    try:
        answer = client.ask(asked.question, tenant=TENANT)
    except client.AskError as error:
        return f"{error.status}: {str(error).splitlines()[0][:120]}"
    if asked.thumb is not None:
        client.feedback(answer.request_id, who=WHO, thumb=asked.thumb, correction=asked.correction)
    return "answered"
