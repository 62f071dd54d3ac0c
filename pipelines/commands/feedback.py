"""`python -m pipelines feedback REQUEST`: a thumb, a correction or a comment about an answer, beside the traffic log."""

from pipelines.serving import client

THUMBS = {"up": 1, "down": -1, None: None}


def run(request: str, who: str, thumb: str | None, correction: str | None, comment: str | None) -> None:
    path = client.feedback(request, who=who, thumb=THUMBS[thumb], correction=correction, comment=comment)
    print(f"noted: {path}")
