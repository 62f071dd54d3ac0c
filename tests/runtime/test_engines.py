import json
from typing import Any

import numpy as np
import pytest

from pipelines.runtime import arrays
from pipelines.runtime.engines import Reading, Task, request, status_of
from pipelines.runtime.status import RequestError, Status


def test_vllm_is_asked_greedily_for_new_text_alone_with_counts_of_tokens() -> None:
    task = Task("Question: ü?", max_new_tokens=24, stream=True, deadline=1e9)
    inputs = request("vllm", task, "candidate")
    switches = {name: array.tolist() for name, array in inputs.items() if array.dtype == np.bool_}
    assert arrays.value(inputs["text_input"]) == "Question: ü?"
    assert json.loads(inputs["sampling_parameters"][0]) == {
        "max_tokens": 24,
        "temperature": 0,
        "lora_name": "candidate",
    }
    assert switches == {
        "stream": [True],
        "exclude_input_in_output": [True],
        "return_num_input_tokens": [True],
        "return_num_output_tokens": [True],
    }
    assert {array.shape for array in inputs.values()} == {(1,)}


def test_vllm_is_asked_for_no_adapter_if_the_weights_are_merged() -> None:
    task = Task("q", max_new_tokens=24, stream=False, deadline=1e9)
    sampling = json.loads(request("vllm", task, None)["sampling_parameters"][0])
    assert "lora_name" not in sampling


def test_our_own_backend_gets_a_row_of_each_input() -> None:
    task = Task("q", max_new_tokens=24, stream=False, deadline=12.5)
    inputs = request("python", task, None)
    assert {array.shape for array in inputs.values()} == {(1, 1)}
    assert arrays.values(inputs) == {
        "prompt": "q",
        "max_new_tokens": 24,
        "stream": False,
        "deadline": 12.5,
    }


def response_of_vllm(text: str) -> dict[str, Any]:
    """One token of an answer to a prompt of seven."""
    return {"text_output": text, "num_input_tokens": 7, "num_output_tokens": 1}


def test_vllms_pieces_make_up_the_stripped_answer_with_its_counts() -> None:
    reading = Reading("vllm")
    pieces = [reading.add(response_of_vllm(text)) for text in (" A", " release", " ")]
    assert pieces == ["A", " release", ""]
    assert reading.final() == {
        "piece": "",
        "answer": "A release",
        "num_prompt_tokens": 7,
        "num_new_tokens": 3,
        "mean_log_probability": None,
    }


def test_an_answer_that_did_not_come_is_empty() -> None:
    assert Reading("vllm").final() == {}
    reading = Reading("python")
    response = {
        "final": False,
        "piece": "A",
        "answer": "",
        "num_prompt_tokens": 0,
        "num_new_tokens": 0,
    }
    assert reading.add(response) == "A"
    assert reading.final() == {}


def test_our_own_last_response_holds_the_answer_and_the_piece_that_is_left() -> None:
    reading = Reading("python")
    last = {
        "piece": " rest",
        "answer": "The rest",
        "num_prompt_tokens": 5,
        "num_new_tokens": 2,
        "mean_log_probability": -0.25,
    }
    assert reading.add({"final": True, **last}) == ""
    assert reading.final() == last


@pytest.mark.parametrize(
    ("backend", "message", "status"),
    [
        ("vllm", "prompt is longer than the maximum model length of 209", Status.REJECTED),
        ("vllm", "out of memory", Status.FAILED),
        ("python", "prompt is longer than the maximum model length of 209", Status.FAILED),
    ],
)
def test_words_count_only_for_vllm_which_gives_no_code(
    backend: str, message: str, status: Status
) -> None:
    assert status_of(backend, RequestError(Status.FAILED, message)) is status
