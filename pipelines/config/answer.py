"""`answer` of params.yaml: when an answer is given, and when it is withheld."""

from pydantic import Field

from pipelines.config.section import Section


class AnswerConfig(Section):
    """Limits that `calibrate` obeys."""

    min_support: float = Field(
        ge=0,
        le=1,
        description="an answer leaves only if one passage has this share of the words of each of "
        "its sentences",
    )
    max_false_refusals: float = Field(
        ge=0,
        lt=1,
        description="share of the right answers to validation questions that may be withheld "
        "because the model was not sure enough",
    )
