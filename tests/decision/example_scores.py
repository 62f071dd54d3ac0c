"""Scores for tests of the gate: good ones, and the same with one value changed."""

from pipelines.contracts.scores import BASE, CANDIDATE, CHAMPION, FREQUENT, Interval, Scores, System


def interval(value: float, num: int = 120) -> Interval:
    """An interval of the width that a bootstrap over some hundred questions has."""
    low = round(max(-1.0, value - 0.04), 6)
    high = round(min(1.0, value + 0.04), 6)
    return Interval(value=value, low=low, high=high, num=num)


def system(exact_match: float) -> System:
    match = max(0.04, exact_match)
    return System(
        metrics={"exact_match": interval(match), "hit_at_5": interval(0.9)},
        slices={"style:typo": interval(match, 40), "topic:rare": interval(0.04, 3)},
    )


def scores(
    candidate: str, match: float = 0.8, base: float = 0.1, champion: float | None = None
) -> Scores:
    """Scores of a candidate with these exact matches; everything else is good."""
    systems = {CANDIDATE: system(match), BASE: system(base), FREQUENT: system(0.1)}
    if champion is not None:
        systems[CHAMPION] = system(champion)
    return Scores(
        candidate=candidate,
        champion=None if champion is None else "r-1",
        num_questions=120,
        golden_digest="g",
        systems=systems,
        differences={
            name: differences(systems[CANDIDATE], competitor)
            for name, competitor in systems.items()
            if name != CANDIDATE
        },
    )


def differences(candidate: System, competitor: System) -> dict[str, Interval]:
    intervals: dict[str, Interval] = {}
    for metric, subtrahend in competitor.metrics.items():
        minuend = candidate.metrics[metric]
        assert minuend.value is not None
        assert subtrahend.value is not None
        intervals[metric] = interval(minuend.value - subtrahend.value)
    return intervals


def with_system(original: Scores, name: str, replacement: System) -> Scores:
    return original.model_copy(update={"systems": original.systems | {name: replacement}})


def without_system(original: Scores, name: str) -> Scores:
    systems = {key: value for key, value in original.systems.items() if key != name}
    return original.model_copy(update={"systems": systems})


def with_differences(original: Scores, name: str, replacement: dict[str, Interval]) -> Scores:
    return original.model_copy(update={"differences": original.differences | {name: replacement}})


def with_metric(original: Scores, name: str, metric: str, value: Interval) -> Scores:
    metrics = original.systems[name].metrics | {metric: value}
    replacement = original.systems[name].model_copy(update={"metrics": metrics})
    return with_system(original, name, replacement)


def with_slice(original: Scores, name: str, slice_name: str, value: Interval) -> Scores:
    slices = original.systems[name].slices | {slice_name: value}
    replacement = original.systems[name].model_copy(update={"slices": slices})
    return with_system(original, name, replacement)
