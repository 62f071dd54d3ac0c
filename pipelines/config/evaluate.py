"""`evaluate` of params.yaml: how the golden set is measured."""

from typing import Literal

from pydantic import Field

from pipelines.config.section import LOWER, Section


class EvaluateConfig(Section):
    """Retrieval depth, generation and intervals."""

    top_k: int = Field(ge=5, le=100, description="passages retrieved for a question")
    num_passages: int = Field(
        ge=0,
        le=20,
        description="of these, shown in the prompt (if the template shows passages) and cited",
    )
    max_readings: int = Field(
        ge=1,
        le=10,
        description="if the model refuses with the passages shown, or its answer is withheld, it "
        "reads the next num_passages, up to so many times; 1: the best passages alone",
    )
    max_prompt_tokens: int = Field(
        ge=16, description="a longer prompt loses its last passages, never its question"
    )
    max_new_tokens: int = Field(ge=1, description="tokens of the longest answer")
    batch_size: int = Field(ge=1, description="questions generated at once")
    precision: Literal["fp32", "weights"] = Field(
        description="weights: as they were saved; fp32: an answer never depends on its batch"
    )
    num_base_questions: int = Field(
        json_schema_extra=LOWER,
        ge=30,
        description="golden questions that the base model is asked, evenly sampled: untuned it "
        "writes long answers, and what the training gained is seen with fewer",
    )
    num_resamples: int = Field(
        json_schema_extra=LOWER, ge=200, description="bootstrap resamples of each interval"
    )
    grounded_similarity: float = Field(
        json_schema_extra=LOWER,
        ge=0,
        le=1,
        description="an answer's sentence is grounded if a sentence of a retrieved passage has "
        "this cosine similarity to it",
    )
    seed: int = Field(ge=0, description="seed of the bootstrap")
