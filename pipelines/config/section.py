"""What all sections of params.yaml share: frozen, no unknown keys, no defaults, no conversions."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section or a part of one. Every field is required and described; validators only reject."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
