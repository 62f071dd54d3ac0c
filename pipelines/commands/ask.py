"""Ask the served assistant: the answer as it is written, then its citations."""

import argparse
from typing import Any

from pipelines.serving import client
from pipelines.serving.client import Answer, Question


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("question")
    parser.add_argument("--tenant", default="default", help="who asks, for the traffic log")


def run(question: str, tenant: str) -> None:
    """Print the answer piece by piece, then where it comes from. Raises AskError."""
    for part in client.stream(Question(question, tenant=tenant)):
        if isinstance(part, Answer):
            _print_source(part)
        else:
            print(part, end="", flush=True)


def _print_source(answer: Answer) -> None:
    """Where the answer comes from, and how to give feedback."""
    print(
        f"\n\nrelease {answer.release_id}, request {answer.request_id}, "
        f"{answer.num_new_tokens} tokens"
    )
    for number, citation in enumerate(answer.citations, start=1):
        print(f"  [{number}] {_format_citation(citation)}")
    print(
        f"feedback: python -m pipelines feedback {answer.request_id} --who YOU --thumb up|down "
        "[--correction TEXT] [--comment TEXT]"
    )


def _format_citation(citation: dict[str, Any]) -> str:
    section = " > ".join([citation["uri"], *citation["headings"]])
    numbers = ", ".join(str(page) for page in citation["pages"])
    pages = f"   page {numbers}" if numbers else ""
    characters = f"characters {citation['start']} to {citation['end']}"
    return f"{section}{pages}   {characters} (score {citation['score']:.2f})"
