import json
from pathlib import Path

import pytest
from transformers import (
    BertConfig,
    Gemma3Config,
    Gemma3TextConfig,
    Lfm2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    T5Config,
)

from pipelines.errors import UserError
from pipelines.training import base_fitness

SUBJECT = "params.yaml: base.source: model"
LLAMA: dict[str, object] = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


def write_config(folder: Path, values: dict[str, object]) -> None:
    (folder / "config.json").write_text(json.dumps(values))


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(architectures=["LlamaForCausalLM"]),
        MistralConfig(architectures=["MistralForCausalLM"], sliding_window=64),
        Gemma3TextConfig(architectures=["Gemma3ForCausalLM"]),
        LlamaConfig(),  # of a GGUF file, which does not name the class
    ],
)
def test_a_decoder_of_text_with_keys_and_values_is_fit(config: object) -> None:
    assert base_fitness.unfitness(config) is None


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (MambaConfig(architectures=["MambaForCausalLM"]), "mamba is stateful"),
        (
            Lfm2Config(
                num_hidden_layers=2,
                layer_types=["conv", "full_attention"],
                architectures=["Lfm2ForCausalLM"],
            ),
            "lfm2 is stateful",
        ),
        (T5Config(architectures=["T5ForConditionalGeneration"]), "t5 is an encoder-decoder"),
        (Gemma3Config(architectures=["Gemma3ForConditionalGeneration"]), "gemma3 is multimodal"),
        (BertConfig(architectures=["BertForMaskedLM"]), "are those of BertForMaskedLM, while"),
        (LlamaConfig(architectures=["LlamaModel"]), "written by LlamaForCausalLM"),
        (
            LlamaConfig(
                architectures=["LlamaForCausalLM"], quantization_config={"quant_method": "gptq"}
            ),
            "its weights are quantised (gptq)",
        ),
    ],
)
def test_an_unfit_model_is_named_with_its_reason(config: object, reason: str) -> None:
    assert reason in str(base_fitness.unfitness(config))


def test_the_refusal_names_the_key_the_reason_and_what_to_do(tmp_path: Path) -> None:
    MambaConfig(architectures=["MambaForCausalLM"]).save_pretrained(tmp_path)
    with pytest.raises(UserError) as caught:
        base_fitness.demand(tmp_path, SUBJECT)
    assert str(caught.value) == (
        "params.yaml: base.source: model is no base model for this pipeline: mamba is stateful: it "
        "keeps a running state instead of keys and values, so its rows cannot join and leave a "
        "batch; name another model under params.yaml: base.source"
    )


def test_code_beside_the_weights_is_refused_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("open('proof', 'w')\n")
    write_config(tmp_path, {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}})
    with pytest.raises(UserError, match="nothing that the installed transformers knows"):
        base_fitness.demand(tmp_path, SUBJECT)
    assert not Path("proof").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"model_type": "llama", "num_attention_heads": "many"}']
)
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match="nothing that the installed transformers knows"):
        base_fitness.demand(tmp_path, SUBJECT)


def test_a_folder_without_a_configuration_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model holds no config\.json"):
        base_fitness.demand(tmp_path, SUBJECT)
    write_config(tmp_path, LLAMA)
    base_fitness.demand(tmp_path, SUBJECT)
