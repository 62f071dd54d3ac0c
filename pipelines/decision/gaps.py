"""What the golden questions cannot judge, and what a person should look at first.

The gate refuses what a rule misses. This names what no rule looks at, since nobody has written
questions about it: a verdict says how far it reaches.
"""

from collections.abc import Iterator

from pipelines.contracts.answers import READING
from pipelines.contracts.scores import CANDIDATE, NEAREST, Scores, System
from pipelines.questions import reading_set

MIN_QUESTIONS = 10  # fewer tell nothing
DRAFT = (
    "`python -m pipelines draft` proposes questions about your documents, "
    "`python -m pipelines draft --review --who YOU` takes them into training and golden set"
)
# Metric -> what nobody can tell without it.
SUBJECTS = {
    "hit_at_5": "whether retrieval finds the right page of your documents: no golden question "
    "names one",
    "refusal_recall": "whether questions that no document answers are refused",
    "document_f1": "whether answers from documents are right",
    "unanswerable_refused": "whether questions that only look answerable are refused",
}


def find(scores: Scores) -> list[str]:
    """A line for each subject, the first to be looked at first; empty if all is judged."""
    candidate = scores.systems.get(CANDIDATE)
    if candidate is None:
        return []
    lines = list(_subjects(candidate, reads=NEAREST in scores.systems))
    return [*lines, f"look at this first: {DRAFT}"] if lines else []


def _subjects(candidate: System, *, reads: bool) -> Iterator[str]:
    """`reads`: whether the model is shown passages; one that is not is asked no such questions."""
    shipped = candidate.slices.get(f"topic:{reading_set.TOPIC}")
    if shipped is not None and shipped.num:
        yield (
            f"answers about your documents: {shipped.num} of the golden questions are the "
            "sample's, read with their own passages, so they tell how well the model reads, not "
            "what it says about your documents"
        )
    for metric, subject in SUBJECTS.items():
        if metric in READING and not reads:
            continue
        interval = candidate.metrics.get(metric)
        num = interval.num if interval is not None else 0
        if num < MIN_QUESTIONS:
            yield f"{subject} ({num} questions)"
