"""`survey` of params.yaml: the page that shows the corpus."""

from pydantic import Field

from pipelines.config.section import Section


class SurveyConfig(Section):
    """The map of the passages."""

    max_points: int = Field(
        ge=50, description="passages on the map; of more, as many are sampled at random"
    )
    seed: int = Field(ge=0, description="seed of the sample and of the map")
