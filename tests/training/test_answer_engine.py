from pathlib import Path

import pytest

from pipelines.config.generation import GenerationConfig
from pipelines.errors import UserError
from pipelines.training import answer_engine, openvino_graph


def test_auto_takes_openvino_on_a_cpu_and_transformers_on_a_gpu_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    auto = GenerationConfig(engine="auto")
    monkeypatch.setattr(answer_engine, "has_gpu", lambda: False)
    assert answer_engine.choose(auto) == (
        "openvino",
        "generation.engine: auto: openvino answers (there is no NVIDIA GPU)",
    )
    monkeypatch.setattr(answer_engine, "has_gpu", lambda: True)
    assert answer_engine.choose(auto) == (
        "transformers",
        "generation.engine: auto: transformers answers (there is an NVIDIA GPU)",
    )


def test_without_openvino_auto_takes_transformers_and_openvino_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answer_engine, "has_gpu", lambda: False)
    monkeypatch.setattr(openvino_graph, "PYTHON", Path("nowhere/bin/python"))
    assert answer_engine.choose(GenerationConfig(engine="auto")) == (
        "transformers",
        "generation.engine: auto: transformers answers (nowhere/bin/python is missing)",
    )
    message = "openvino cannot be used: nowhere/bin/python is missing. Run `make setup`, or set"
    with pytest.raises(UserError, match=message):
        answer_engine.choose(GenerationConfig(engine="openvino"))


def test_a_configured_engine_is_taken_as_it_is() -> None:
    assert answer_engine.choose(GenerationConfig(engine="openvino")).engine == "openvino"
    assert answer_engine.choose(GenerationConfig(engine="transformers")).engine == "transformers"
