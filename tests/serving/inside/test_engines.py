import json

import numpy as np

from pipelines.serving.inside.engines import Reading, request


def test_vllm_is_asked_greedily_for_new_text_alone_with_counts_of_tokens() -> None:
    inputs = request("vllm", "Question: ü?", 24, True, 1e9, "candidate")
    assert inputs["text_input"][0].decode() == "Question: ü?"
    assert json.loads(inputs["sampling_parameters"][0]) == {"max_tokens": 24, "temperature": 0, "lora_name": "candidate"}
    assert {name: value.tolist() for name, value in inputs.items() if value.dtype == np.bool_} == {
        "stream": [True],
        "exclude_input_in_output": [True],
        "return_num_input_tokens": [True],
        "return_num_output_tokens": [True],
    }
    assert {value.shape for value in inputs.values()} == {(1,)}
    assert "lora_name" not in json.loads(request("vllm", "q", 24, False, 1e9, None)["sampling_parameters"][0])


def test_vllms_pieces_make_up_the_stripped_answer_with_its_counts() -> None:
    reading = Reading("vllm")
    pieces = [reading.add({"text_output": text, "num_input_tokens": 7, "num_output_tokens": 1}) for text in (" A", " release", " ")]
    assert pieces == ["A", " release", ""]
    assert reading.final() == {"piece": "", "answer": "A release", "num_prompt_tokens": 7, "num_new_tokens": 3}


def test_an_answer_that_did_not_come_is_none() -> None:
    assert Reading("vllm").final() == {}
    reading = Reading("python")
    assert reading.add({"final": False, "piece": "A", "answer": "", "num_prompt_tokens": 0, "num_new_tokens": 0}) == "A"
    assert reading.final() == {}


def test_pythons_last_response_holds_the_answer_and_the_piece_that_is_left() -> None:
    reading = Reading("python")
    assert reading.add({"final": True, "piece": " rest", "answer": "The rest", "num_prompt_tokens": 5, "num_new_tokens": 2}) == ""
    assert reading.final() == {"piece": " rest", "answer": "The rest", "num_prompt_tokens": 5, "num_new_tokens": 2}
