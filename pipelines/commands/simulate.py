"""Ask the served assistant what people would ask in a scenario, and give their feedback.

Every question goes the way of a real one, through the running server, which writes the traffic log.
An outage is real too: for its length the aliases of the live releases are taken out of Weaviate, so
real users meet it as well.
"""

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipelines.errors import UserError
from pipelines.questions import golden, scenarios
from pipelines.questions.scenarios import Request
from pipelines.serving import client, live_routes, live_server
from pipelines.serving.client import Question
from pipelines.vectorstore import withhold_alias

SCENARIOS = Path("data/scenarios")
GOLDEN = Path("data/golden")
NUM_CLIENTS = 8  # that ask at the same time
NUM_USERS = 40  # that are played, each a tenant of its own
WHO = "simulated user"
SUCCESS = "answered"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenario", required=True, help="a file of data/scenarios, without .yaml")
    parser.add_argument(
        "--requests", type=int, default=200, help="number of questions (default 200)"
    )
    parser.add_argument(
        "--seed", type=int, default=7, help="the same seed asks the same questions (default 7)"
    )


def run(scenario: str, requests: int, seed: int) -> int:
    """Ask, give feedback, and print the outcomes. Exit code 1 if no request was answered."""
    if requests < 1:
        raise UserError(f"--requests {requests}: ask at least one question")
    world = scenarios.load(SCENARIOS, scenario)
    client.find_server()  # raises UserError if there is none
    steady_questions = [item.question for item in golden.load(GOLDEN) if item.style != "reviewed"]
    drawn_requests = scenarios.draw(world, steady_questions, requests, seed)
    start = time.monotonic()
    outcomes = _ask_all(drawn_requests)
    seconds = time.monotonic() - start
    print(f"{scenario}: {world.description}")
    _print_outcomes(drawn_requests, outcomes, seconds)
    return 0 if SUCCESS in outcomes else 1


def _ask_all(requests: Sequence[Request]) -> list[str]:
    """The outcome of each request. Those of an outage come last, all during one outage."""
    usual = [request for request in requests if not request.outage]
    during_outage = [request for request in requests if request.outage]
    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        outcomes = list(pool.map(_ask, usual, _users()))
        if during_outage:
            with _outage():
                outcomes += pool.map(_ask, during_outage, _users())
    return outcomes


def _users() -> Iterator[str]:
    """Tenants in turn, without end."""
    return itertools.cycle(f"simulation-{number}" for number in range(1, NUM_USERS + 1))


@contextmanager
def _outage() -> Iterator[None]:
    """While the block runs, no live release finds its knowledge.

    After a kill, `make serve` restores it when it starts.
    """
    with ExitStack() as stack:
        for release_id, _ in live_routes.read().shares:
            stack.enter_context(withhold_alias(live_server.alias(release_id)))
        yield


def _ask(request: Request, user: str) -> str:
    """SUCCESS, or what the server said instead."""
    try:
        answer = client.ask(Question(request.question, tenant=user))
    except client.AskError as error:
        return f"{error.status}: {str(error).splitlines()[0][:120]}"
    if request.thumb is not None:
        client.give_feedback(
            answer.request_id, who=WHO, thumb=request.thumb, correction=request.correction
        )
    return SUCCESS


def _print_outcomes(requests: Sequence[Request], outcomes: list[str], seconds: float) -> None:
    num_thumbs = 0
    num_corrections = 0
    for request, outcome in zip(requests, outcomes, strict=True):
        if outcome == SUCCESS and request.thumb is not None:
            num_thumbs += 1
            num_corrections += request.correction is not None
    num_answers = outcomes.count(SUCCESS)
    print(
        f"{num_answers} of {len(requests)} requests answered in {seconds:.1f} s, "
        f"{num_thumbs} with a thumb, {num_corrections} corrected"
    )
    for outcome in sorted(set(outcomes) - {SUCCESS}):
        print(f"  {outcomes.count(outcome)} {outcome}")
