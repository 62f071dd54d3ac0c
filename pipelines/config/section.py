"""What all sections of params.yaml share: frozen, no unknown keys, no defaults, no conversions.

A protected field also says which change of it is looser, as `json_schema_extra`: a run may not make
such a change (`pipelines.config.protection`). null declares nothing, and so is the strictest.
"""

from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict

LOOSER = "looser"  # the key of the rule
LOWER: JsonDict = {LOOSER: "lower"}  # of a mapping: any of its values, or a key that is gone
HIGHER: JsonDict = {LOOSER: "higher"}
FEWER: JsonDict = {LOOSER: "fewer"}  # of a list
MORE: JsonDict = {LOOSER: "more"}  # of a mapping: an entry that was not there as it is
ANY_CHANGE: JsonDict = {LOOSER: "any change"}
# Of sources: as soon as one has readers, since any other could lead to its documents.
ANY_IF_RESTRICTED: JsonDict = {LOOSER: "any change of sources with readers"}


def in_order(*values: str) -> JsonDict:
    """The rule of a choice: its values from the strictest to the loosest."""
    return {LOOSER: list(values)}


class Section(BaseModel):
    """A section or a part of one. Every field is required and described; validators only reject."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
