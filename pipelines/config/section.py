"""What every section of params.yaml has in common: frozen, no unknown keys, no defaults, no silent conversions."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section or a part of one. Every field is required and described; validators only reject."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
