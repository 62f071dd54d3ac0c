"""redaction.json: how much personal data was replaced, by type and source, and no value of it.

{"documents_changed": 11, "by_type": {"EMAIL_ADDRESS": 23, "IBAN_CODE": 0},
 "by_source": {"handbook": {"EMAIL_ADDRESS": 23}},
 "actions": {"EMAIL_ADDRESS": "mask", "IBAN_CODE": "mask"}}
"""

from pydantic import BaseModel, ConfigDict


class Redaction(BaseModel):
    """Counts of what `redact` has replaced, and what it does with each type."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    documents_changed: int
    by_type: dict[str, int]
    by_source: dict[str, dict[str, int]]
    actions: dict[str, str]
