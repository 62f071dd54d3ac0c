"""Triton's config.pbtxt of each model, written as Triton's own message.

Inputs and outputs, batching, instances, warm-up and version policy.
"""

from typing import Any

from pipelines.config.export import ExportConfig

EMBEDDER = "embedder"
GENERATOR = "generator"
ASSISTANT = "assistant"
MODELS = (EMBEDDER, GENERATOR, ASSISTANT)
FILE = "config.pbtxt"
WARM_UP = "question"  # file in the model's folder `warmup`: one text as Triton stores it


def embedder(config: ExportConfig, dimensions: int) -> str:
    """Texts in batches of up to `max_texts`; with a question they are scored against it."""
    model = _model(EMBEDDER, "python", config.max_texts, config.version)
    _add_inputs(model, {"text": "TYPE_STRING"})
    _add_inputs(model, {"question": "TYPE_STRING"}, optional=True)
    model.output.add(name="vector", data_type=_type("TYPE_FP32"), dims=[dimensions])
    _add_outputs(model, {"score": "TYPE_FP32", "num_tokens": "TYPE_INT32", "is_whole": "TYPE_BOOL"})
    model.dynamic_batching.max_queue_delay_microseconds = 0
    _set_instances(model, 1)
    _set_warm_up(model, "text")
    return _text(model)


def generator(config: ExportConfig) -> str:
    """Prompts batched as they arrive; several responses per request, so that tokens can stream."""
    if config.backend == "vllm":
        return _vllm_generator(config.version)
    model = _model(GENERATOR, "python", config.max_batch_size, config.version)
    options = {"max_new_tokens": "TYPE_INT32", "stream": "TYPE_BOOL", "deadline": "TYPE_FP64"}
    outputs = {
        "piece": "TYPE_STRING",
        "answer": "TYPE_STRING",
        "num_prompt_tokens": "TYPE_INT32",
        "num_new_tokens": "TYPE_INT32",
        "mean_log_probability": "TYPE_FP32",
        "final": "TYPE_BOOL",
    }
    _add_inputs(model, {"prompt": "TYPE_STRING"})
    _add_inputs(model, options, optional=True)
    _add_outputs(model, outputs)
    model.model_transaction_policy.decoupled = True
    model.dynamic_batching.max_queue_delay_microseconds = config.max_queue_delay_microseconds
    _set_instances(model, config.num_instances)
    _set_warm_up(model, "prompt")
    return _text(model)


def _vllm_generator(version: int) -> str:
    """vLLM declares its inputs and outputs itself, and batches by itself."""
    model = _model(GENERATOR, "vllm", 0, version)
    model.model_transaction_policy.decoupled = True
    _set_instances(model, 1, kind="KIND_MODEL")
    return _text(model)


def assistant(version: int) -> str:
    """One question per request; it batches nothing itself, its threads let the others batch."""
    model = _model(ASSISTANT, "python", 0, version)
    options = {
        "request_id": "TYPE_STRING",
        "tenant": "TYPE_STRING",
        "groups": "TYPE_STRING",
        "max_new_tokens": "TYPE_INT32",
        "timeout_seconds": "TYPE_FP32",
        "stream": "TYPE_BOOL",
        "position": "TYPE_FP64",
        "guards": "TYPE_STRING",
    }
    outputs = {
        "piece": "TYPE_STRING",
        "answer": "TYPE_STRING",
        "request_id": "TYPE_STRING",
        "release_id": "TYPE_STRING",
        "citations": "TYPE_STRING",
        "guard_flags": "TYPE_STRING",
        "record": "TYPE_STRING",
        "num_prompt_tokens": "TYPE_INT32",
        "num_new_tokens": "TYPE_INT32",
        "refused": "TYPE_BOOL",
        "final": "TYPE_BOOL",
    }
    _add_inputs(model, {"question": "TYPE_STRING"})
    _add_inputs(model, options, optional=True)
    _add_outputs(model, outputs)
    model.model_transaction_policy.decoupled = True
    _set_instances(model, 1, kind="KIND_CPU")
    return _text(model)


def read(text: str) -> Any:
    """Text as Triton's own message. Raises google.protobuf.text_format.ParseError."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2 as triton

    return text_format.Parse(text, triton.ModelConfig())


def rename(text: str, name: str) -> str:
    """The same configuration under a different name."""
    model = read(text)
    model.name = name
    return _text(model)


def warm_up_data(text: str) -> bytes:
    """A text as Triton stores it in a file."""
    import numpy as np
    from tritonclient.utils import serialize_byte_tensor

    content: bytes = serialize_byte_tensor(np.array([text.encode()], dtype=np.object_)).item()
    return content


def _model(name: str, backend: str, max_batch_size: int, version: int) -> Any:
    from tritonclient.grpc import model_config_pb2 as triton

    model = triton.ModelConfig(name=name, backend=backend, max_batch_size=max_batch_size)
    model.version_policy.specific.versions.append(version)
    return model


def _type(name: str) -> int:
    from tritonclient.grpc import model_config_pb2 as triton

    return int(getattr(triton, name))


def _add_inputs(model: Any, types: dict[str, str], *, optional: bool = False) -> None:
    for name, kind in types.items():
        model.input.add(name=name, data_type=_type(kind), dims=[1], optional=optional)


def _add_outputs(model: Any, types: dict[str, str]) -> None:
    for name, kind in types.items():
        model.output.add(name=name, data_type=_type(kind), dims=[1])


def _set_instances(model: Any, count: int, *, kind: str = "KIND_AUTO") -> None:
    """On any device (KIND_AUTO), on the CPU (KIND_CPU), or as the model decides (KIND_MODEL)."""
    from tritonclient.grpc import model_config_pb2 as triton

    model.instance_group.add(count=count, kind=getattr(triton.ModelInstanceGroup, kind))


def _set_warm_up(model: Any, name: str) -> None:
    """One real question before the first user's."""
    warm_up = model.model_warmup.add(name="one question", batch_size=1, count=1)
    warm_up.inputs[name].data_type = _type("TYPE_STRING")
    warm_up.inputs[name].dims.append(1)
    warm_up.inputs[name].input_data_file = WARM_UP


def _text(model: Any) -> str:
    from google.protobuf import text_format

    text: str = text_format.MessageToString(model)
    return text
