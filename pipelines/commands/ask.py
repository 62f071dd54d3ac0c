"""`python -m pipelines ask "..."`: one question to the served assistant, answered as it is written, with its citations."""

from pipelines.serving import client


def run(question: str, tenant: str) -> None:
    """Print the answer piece by piece, then where it comes from and how to give feedback. Raises AskError."""
    for part in client.stream(question, tenant=tenant):
        if isinstance(part, str):
            print(part, end="", flush=True)
            continue
        print(f"\n\nrelease {part.release_id}, request {part.request_id}, {part.num_new_tokens} tokens")
        for number, cited in enumerate(part.citations, start=1):
            where = " > ".join([cited["uri"], *cited["headings"]])
            pages = f"   page {', '.join(map(str, cited['pages']))}" if cited["pages"] else ""
            print(f"  [{number}] {where}{pages}   characters {cited['start']} to {cited['end']} (score {cited['score']:.2f})")
        print(f"feedback: python -m pipelines feedback {part.request_id} --who YOU --thumb up|down [--correction TEXT] [--comment TEXT]")
