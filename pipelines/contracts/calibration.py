"""calibration.json: when an answer is withheld, and how well signals tell right from wrong.

{"refusal": "I cannot find that in the documents.", "min_support": 0.75,
 "min_log_probability": -0.42, "num_right": 61, "num_wrong": 20, "num_refused": 13,
 "signals": {"log_probability": 0.83, "support": 0.71, "similarity": 0.64}}
"""

from pydantic import BaseModel, ConfigDict


class Calibration(BaseModel):
    """What `calibrate` found out on validation questions, which training has not seen.

    All is null or empty for a template that shows no passages: then nothing is withheld.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    refusal: str | None  # what is said in place of an answer that is withheld
    min_support: float | None
    min_log_probability: float | None
    num_right: int  # validation questions that the model answered right
    num_wrong: int  # answered wrong, or although no passage answers
    num_refused: int
    # Area under the ROC curve of each signal: 1 tells right from wrong answers perfectly, 0.5 not
    # at all; null if there are only right or only wrong ones.
    signals: dict[str, float | None]
