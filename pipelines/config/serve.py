"""`serve` of params.yaml: the live server. No stage reads it."""

from pydantic import Field

from pipelines.config.section import Section


class Prices(Section):
    """Cost of a request, in one currency."""

    prompt_tokens_per_million: float = Field(ge=0, description="of tokens read")
    new_tokens_per_million: float = Field(ge=0, description="of tokens written")
    request: float = Field(ge=0, description="fixed cost of a request")


class ServeConfig(Section):
    """The live server's entry."""

    max_requests_at_once: int = Field(
        ge=1, le=1024, description="requests worked on side by side, over all releases"
    )
    max_waiting: int = Field(
        ge=1, description="requests accepted at once; more are refused as overloaded"
    )
    max_seconds: float = Field(gt=0, description="a request that sets no limit of its own")
    keep_loaded: int = Field(
        ge=1,
        description=(
            "releases that stay loaded, the live one included; "
            "a rollback to a loaded one takes no loading"
        ),
    )
    keep_files: int = Field(
        ge=1, description="releases whose files stay beside the live one's, for a quick rollback"
    )
    prices: Prices = Field(description="cost of a request in the traffic log")
