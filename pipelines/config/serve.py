"""`serve`, `canary` and `proof` of params.yaml: the live server, the switch to a new release, and what a release must prove first. No stage reads them."""

from pydantic import Field

from pipelines.config.section import Section


class Prices(Section):
    """Cost of a request, in one currency."""

    prompt_tokens_per_million: float = Field(ge=0, description="of tokens read")
    new_tokens_per_million: float = Field(ge=0, description="of tokens written")
    request: float = Field(ge=0, description="fixed cost of a request")


class ServeConfig(Section):
    """The live server's entry."""

    max_requests_at_once: int = Field(ge=1, le=1024, description="requests worked on side by side, over all releases")
    max_waiting: int = Field(ge=1, description="requests accepted at once; more are refused as overloaded")
    max_seconds: float = Field(gt=0, description="a request that sets no limit of its own")
    keep_loaded: int = Field(ge=1, description="releases that stay loaded, the live one included; a rollback to a loaded one takes no loading")
    keep_files: int = Field(ge=1, description="releases whose files stay beside the live one's, for a quick rollback")
    prices: Prices = Field(description="cost of a request in the traffic log")


class CanaryConfig(Section):
    """How a new release takes over."""

    steps: list[float] = Field(min_length=1, description="growing shares of requests that the new release answers; the last must be 1.0")
    min_requests: int = Field(ge=1, description="answered by the new release in a step before it is judged")
    min_measured: int = Field(ge=1, description="answers of each release whose groundedness was measured, before it is compared")
    max_step_seconds: float = Field(gt=0, description="a step with too few requests after that is a refusal, never a pass")
    max_error_rate_increase: float = Field(ge=0, le=1, description="share of failed requests against the old release")
    max_latency_ratio: float = Field(gt=0, description="95th percentile of the time to the answer against the old release")
    max_groundedness_drop: float = Field(ge=0, le=1, description="mean groundedness against the old release")
    max_refused_increase: float = Field(ge=0, le=1, description="share of refusing answers against the old release")
    max_thumbs_drop: float = Field(ge=0, le=1, description="share of thumbs up among thumbs against the old release")
    min_thumbs: int = Field(ge=1, description="of each release before thumbs are compared")


class ProofConfig(Section):
    """What a fresh server must show before a release may be live."""

    num_questions: int = Field(ge=1, description="golden questions asked, spread over all")
    min_same_answers: float = Field(ge=0, le=1, description="share of answers that equal evaluate's to the letter")
    min_same_citations: float = Field(ge=0, le=1, description="share of answers that cite the passages that evaluate found, in order")
