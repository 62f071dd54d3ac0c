"""`examples` of params.yaml: how training examples are made from data/faq."""

from pydantic import Field

from pipelines.config.section import Section


class ExamplesConfig(Section):
    """Template, split and leak check."""

    template: str = Field(
        pattern=r"^[a-z0-9-]+$",
        description="data/prompts/<template>.yaml: the same in training, evaluation and serving",
    )
    num_variants: int = Field(
        ge=0,
        le=20,
        description="wordings made from each training question by leaving out words",
    )
    word_dropout: float = Field(
        ge=0, lt=0.6, description="share of words that a variant leaves out"
    )
    min_examples: int = Field(
        ge=0,
        le=10_000,
        description=(
            "training examples of a topic: one with fewer gets further variants of its questions, "
            "as long as there are different ones"
        ),
    )
    num_passages: int = Field(
        ge=0, le=20, description="passages of the supporting page, for templates that show passages"
    )
    validation_share: float = Field(
        gt=0, lt=0.5, description="share of each topic's questions held out for the loss curve"
    )
    min_questions: int = Field(ge=1, description="questions that a topic must have")
    max_question_characters: int = Field(ge=8, description="longest question")
    near_duplicate_similarity: float = Field(
        gt=0,
        le=1,
        description=(
            "share of common character 4-grams (Jaccard) "
            "from which a question counts as a golden one"
        ),
    )
    seed: int = Field(ge=0, description="seed of split, variants and order")
