"""`examples` of params.yaml: how training examples are made from data/faq."""

from pydantic import Field

from pipelines.config.section import Section


class ExamplesConfig(Section):
    """Template, split and leak check."""

    template: str = Field(pattern=r"^[a-z0-9-]+$", description="data/prompts/<template>.yaml: the same in training, evaluation and serving")
    num_variants: int = Field(ge=0, le=20, description="further wordings made of each training question by leaving out words")
    word_dropout: float = Field(ge=0, lt=0.6, description="share of words that a variant leaves out")
    min_examples: int = Field(ge=0, le=10_000, description="training examples of a topic; one with fewer questions gets further variants of them, as far as there are different ones")
    num_passages: int = Field(ge=0, le=20, description="passages of the supporting page, for templates that show passages")
    validation_share: float = Field(gt=0, lt=0.5, description="share of each topic's questions held for the loss curve")
    min_questions: int = Field(ge=1, description="questions a topic must have")
    max_question_characters: int = Field(ge=8, description="longest question")
    near_duplicate_similarity: float = Field(gt=0, le=1, description="share of common character 4-grams (Jaccard) from which a question counts as a golden one")
    seed: int = Field(ge=0, description="seed of split, variants and order")
