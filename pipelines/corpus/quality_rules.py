"""Rules of `ingest.quality` for a document's text."""

from typing import Any

from pipelines.config.ingest import Quality

SHARES = {
    "repeated_line_share": "of its characters are in lines that occurred before",
    "replacement_share": "of its characters are replacement characters",
    "mojibake_share": "of its characters look wrongly decoded",
}


def broken_rule(facts: dict[str, Any], quality: Quality) -> str | None:
    """The first rule that a document's measures break, with value and limit; None if none."""
    num_words = facts["num_words"]
    if num_words < quality.min_words:
        limit = f"ingest.quality.min_words ({quality.min_words})"
        return f"has {num_words} words, fewer than {limit}"
    letter_share = facts["measures"]["letter_share"]
    if letter_share < quality.min_letter_share:
        limit = f"ingest.quality.min_letter_share ({quality.min_letter_share:.1%})"
        return f"{letter_share:.1%} of its characters are letters, less than {limit}"
    upper_limits = {
        "repeated_line_share": quality.max_repeated_line_share,
        "replacement_share": quality.max_replacement_share,
        "mojibake_share": quality.max_mojibake_share,
    }
    for name, upper_limit in upper_limits.items():
        share = facts["measures"][name]
        if share > upper_limit:
            limit = f"ingest.quality.max_{name} ({upper_limit:.1%})"
            return f"{share:.1%} {SHARES[name]}, more than {limit}"
    return None
