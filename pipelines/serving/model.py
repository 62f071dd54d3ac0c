"""The Triton Python model `generator`: a prompt in, a greedy answer out. Copied into the model repository beside generation.py.

Input `prompt` (UTF-8). Outputs `answer` (UTF-8), `num_prompt_tokens`, `num_new_tokens`. The requests that Triton batched are
generated together. Runs in Triton's own environment; imports nothing of the pipeline but its own copy of generation.py.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


class TritonPythonModel:
    """The class that Triton's Python back end looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the merged model from this version's folder."""
        here = Path(args["model_repository"]) / args["model_version"]
        sys.path.insert(0, str(here))
        import generation

        settings = json.loads(args["model_config"])["parameters"]
        self.max_new_tokens = int(settings["max_new_tokens"]["string_value"])
        self.generator = generation.load(here / "weights")

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request; an error concerns all requests of the batch."""
        import triton_python_backend_utils as triton

        given = [triton.get_input_tensor_by_name(request, "prompt").as_numpy().reshape(-1) for request in requests]
        prompts = [value.decode("utf-8") for values in given for value in values]
        answers = iter(self.generator.answer(prompts, self.max_new_tokens, batch_size=max(1, len(prompts))))
        responses = []
        for values in given:
            own = [next(answers) for _ in values]
            responses.append(triton.InferenceResponse([
                triton.Tensor("answer", np.array([[answer.text.encode("utf-8")] for answer in own], dtype=np.object_)),
                triton.Tensor("num_prompt_tokens", np.array([[answer.num_prompt_tokens] for answer in own], dtype=np.int32)),
                triton.Tensor("num_new_tokens", np.array([[answer.num_new_tokens] for answer in own], dtype=np.int32)),
            ]))  # fmt: skip
        return responses
