"""Whether a model is a base for this pipeline, told from its configuration before weights are read.

It must be a decoder that reads text alone and remembers it as keys and values: rows join and leave
a batch, adapters are merged into plain weights, and no code is run that came with the weights. What
a model is, transformers says; there is no list of ours.
"""

from pathlib import Path
from typing import Any

from pipelines.errors import UserError

ADVICE = "name another model under params.yaml: base.source"


def demand(folder: Path, subject: str) -> None:
    """Raises UserError if the transformers model in `folder` is unfit; `subject` names it."""
    path = folder / "config.json"
    if not path.exists():
        raise UserError(f"{subject} holds no config.json: it is not a transformers model; {ADVICE}")
    from transformers import AutoConfig

    try:
        # Code that came with the weights is never run.
        config = AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    # Each architecture checks its values by itself, with errors of its own.
    except Exception as error:
        raise UserError(
            f"{subject}: its config.json is nothing that the installed transformers knows "
            f"({error}); {ADVICE}"
        ) from error
    demand_fit(config, subject)


def demand_fit(config: Any, subject: str) -> None:
    """The same, of a configuration that is already open."""
    reason = unfitness(config)
    if reason is not None:
        raise UserError(f"{subject} is no base model for this pipeline: {reason}; {ADVICE}")


def unfitness(config: Any) -> str | None:
    """Why a model of this configuration cannot be the base; None if it can."""
    return _wrong_kind(config) or _wrong_memory(config) or _wrong_weights(config)


def _wrong_kind(config: Any) -> str | None:
    """Whether it is no decoder of text that transformers knows."""
    from transformers import AutoModelForCausalLM

    kind = config.model_type
    if config.is_encoder_decoder:
        return (
            f"{kind} is an encoder-decoder, whose prompt and answer do not form one text: "
            "a decoder is needed"
        )
    if _reads_other_media(config):
        return f"{kind} is multimodal: it reads more than text"
    if type(config) not in AutoModelForCausalLM._model_mapping:
        return f"transformers has no causal language model for {kind}"
    return None


def _wrong_memory(config: Any) -> str | None:
    """Whether it remembers the text in another way than by keys and values."""
    if model_class(config)._is_stateful or _has_recurrent_layers(config):
        return (
            f"{config.model_type} is stateful: it keeps a running state instead of keys and "
            "values, so its rows cannot join and leave a batch"
        )
    return None


def _wrong_weights(config: Any) -> str | None:
    """Whether the files hold weights that cannot be tuned, merged or used to write text."""
    name = model_class(config).__name__
    # Files of other tasks lack the part that predicts the next token, or predict masked ones.
    if config.architectures and name not in config.architectures:
        names = ", ".join(config.architectures)
        return f"its weights are those of {names}, while text is written by {name}"
    quantisation = getattr(config, "quantization_config", None)
    if quantisation is not None:
        return (
            f"its weights are quantised ({_method(quantisation)}), so an adapter cannot be merged "
            "into them: take the plain ones (finetune.method qlora quantises by itself)"
        )
    return None


def model_class(config: Any) -> Any:
    """The class of transformers that writes text with such a model."""
    from transformers import AutoModelForCausalLM

    classes = AutoModelForCausalLM._model_mapping[type(config)]
    return classes[0] if isinstance(classes, tuple) else classes


def _reads_other_media(config: Any) -> bool:
    from transformers.models.auto import modeling_auto

    return (
        config.model_type in modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
        or config.model_type in modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES
    )


def _has_recurrent_layers(config: Any) -> bool:
    """Whether the cache that transformers makes for such a model holds more than keys and values.

    The class of a mixed model (attention and short convolutions) does not always say so.
    """
    from transformers.cache_utils import DynamicCache, LinearAttentionCacheLayerMixin

    layers = DynamicCache(config=config).layers
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers)


def _method(quantisation: Any) -> str:
    """`gptq`, from what config.json holds."""
    values = quantisation if isinstance(quantisation, dict) else vars(quantisation)
    method = values.get("quant_method", "unknown method")
    return str(getattr(method, "value", method))
