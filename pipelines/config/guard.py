"""`guard` of params.yaml: how attacks on the assistant are told from questions."""

from pydantic import Field

from pipelines.config.section import Section


class GuardConfig(Section):
    """The classifier that the stage `guard` trains on data/guards."""

    max_false_alarms: float = Field(
        gt=0,
        lt=1,
        description="share of the harmless texts of data/guards that may be flagged",
    )
    inverse_regularization: float = Field(
        gt=0, description="C of the logistic regression; more fits the texts more closely"
    )
    seed: int = Field(ge=0, description="of the division of the harmless texts into folds")
