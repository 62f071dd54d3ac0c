"""`examples` of params.yaml: how training examples are made from data/faq."""

from pydantic import Field

from pipelines.config.section import HIGHER, Section


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
    max_examples: int = Field(
        ge=1,
        le=10_000,
        description="questions taken of a topic, drawn at random; variants are made of them",
    )
    num_passages: int = Field(
        ge=0,
        le=20,
        description="passages that a prompt shows, for templates that show passages: those that "
        "retrieval finds for its question",
    )
    shuffled_share: float = Field(
        ge=0,
        le=1,
        description="share of the prompts whose passages stand in random order, so that the first "
        "is not always the right one",
    )
    left_out_share: float = Field(
        ge=0,
        le=1,
        description="share of the questions about documents that are asked once more without the "
        "passage that answers them, to teach refusing",
    )
    max_prompt_tokens: int = Field(
        ge=16, description="a longer prompt loses its last passages, never its question"
    )
    use_reading_set: bool = Field(
        description="true: also the sample's questions with their own passages (data/qa/reading), "
        "which teach reading while few questions are about your documents",
    )
    validation_share: float = Field(
        gt=0, lt=0.5, description="share of each topic's questions held out for the loss curve"
    )
    min_questions: int = Field(ge=1, description="questions that a topic must have")
    max_question_characters: int = Field(ge=8, description="longest question")
    near_duplicate_similarity: float = Field(
        json_schema_extra=HIGHER,
        gt=0,
        le=1,
        description=(
            "share of common character 4-grams (Jaccard) "
            "from which a question counts as a golden one"
        ),
    )
    seed: int = Field(ge=0, description="seed of split, variants and order")
