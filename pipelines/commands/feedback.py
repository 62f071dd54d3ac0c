"""Give a thumb, a correction or a comment about an answer; it goes beside the traffic log.

With ASSISTANT_KEY it goes to the gateway that ASSISTANT_URL names.
"""

import argparse

from pipelines.serving import client, gateway_client

THUMBS = {"up": 1, "down": -1, None: None}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("request", help="the request's id, which came with the answer")
    parser.add_argument("--who", required=True, help="who gives it")
    parser.add_argument("--thumb", choices=["up", "down"])
    parser.add_argument("--correction", help="the answer that should have come")
    parser.add_argument("--comment")


def run(
    request: str, who: str, thumb: str | None, correction: str | None, comment: str | None
) -> None:
    gateway = gateway_client.find()
    if gateway:
        fields = {"thumb": thumb, "correction": correction, "comment": comment}
        gateway_client.give_feedback(gateway, {"request_id": request, "user": who, **fields})
        print(f"noted by {gateway.url}")
        return
    path = client.give_feedback(
        request, who=who, thumb=THUMBS[thumb], correction=correction, comment=comment
    )
    print(f"noted: {path}")
