"""Triton's config.pbtxt of each model, as typed code: inputs and outputs, batching, instances, warm-up, version policy."""

from typing import Any

from pipelines.config.export import ExportConfig

EMBEDDER, GENERATOR, ASSISTANT = "embedder", "generator", "assistant"
MODELS = (EMBEDDER, GENERATOR, ASSISTANT)
WARM_UP = "question"  # file in the model's folder `warmup`: one text as Triton stores it


def embedder(config: ExportConfig, dimensions: int) -> str:
    """Texts in batches of up to `max_texts`."""
    made = _model(EMBEDDER, "python", config.max_texts, config.version)
    _inputs(made, {"text": "TYPE_STRING"})
    made.output.add(name="vector", data_type=_type("TYPE_FP32"), dims=[dimensions])
    made.dynamic_batching.max_queue_delay_microseconds = 0
    _instances(made, 1)
    _warm_up(made, "text")
    return _text(made)


def generator(config: ExportConfig) -> str:
    """Prompts batched as they come; several responses a request, so that tokens can be streamed."""
    if config.backend == "vllm":  # it says its inputs and outputs itself, and batches by itself
        made = _model(GENERATOR, "vllm", 0, config.version)
        made.model_transaction_policy.decoupled = True
        _instances(made, 1, kind="KIND_MODEL")
        return _text(made)
    made = _model(GENERATOR, "python", config.max_batch_size, config.version)
    _inputs(made, {"prompt": "TYPE_STRING"})
    _inputs(made, {"max_new_tokens": "TYPE_INT32", "stream": "TYPE_BOOL", "deadline": "TYPE_FP64"}, optional=True)
    _outputs(made, {"piece": "TYPE_STRING", "answer": "TYPE_STRING", "num_prompt_tokens": "TYPE_INT32", "num_new_tokens": "TYPE_INT32", "final": "TYPE_BOOL"})
    made.model_transaction_policy.decoupled = True
    made.dynamic_batching.max_queue_delay_microseconds = config.max_queue_delay_microseconds
    _instances(made, config.num_instances)
    _warm_up(made, "prompt")
    return _text(made)


def assistant(version: int) -> str:
    """One question a request; it batches nothing itself, its threads let the others batch."""
    made = _model(ASSISTANT, "python", 0, version)
    _inputs(made, {"question": "TYPE_STRING"})
    _inputs(made, {"request_id": "TYPE_STRING", "tenant": "TYPE_STRING", "max_new_tokens": "TYPE_INT32", "timeout_seconds": "TYPE_FP32", "stream": "TYPE_BOOL"}, optional=True)
    texts = dict.fromkeys(("piece", "answer", "request_id", "release_id", "citations", "record"), "TYPE_STRING")
    _outputs(made, {**texts, "num_prompt_tokens": "TYPE_INT32", "num_new_tokens": "TYPE_INT32", "refused": "TYPE_BOOL", "final": "TYPE_BOOL"})
    made.model_transaction_policy.decoupled = True
    _instances(made, 1, kind="KIND_CPU")
    return _text(made)


def read(text: str) -> Any:
    """Text as Triton's own message. Raises google.protobuf.text_format.ParseError."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2 as triton

    return text_format.Parse(text, triton.ModelConfig())


def renamed(text: str, name: str) -> str:
    """The same configuration under another name."""
    made = read(text)
    made.name = name
    return _text(made)


def warm_up_data(text: str) -> bytes:
    """A text as Triton stores it in a file: its length in four bytes, then UTF-8."""
    content = text.encode()
    return len(content).to_bytes(4, "little") + content


def _model(name: str, backend: str, max_batch_size: int, version: int) -> Any:
    from tritonclient.grpc import model_config_pb2 as triton

    made = triton.ModelConfig(name=name, backend=backend, max_batch_size=max_batch_size)
    made.version_policy.specific.versions.append(version)
    return made


def _type(name: str) -> int:
    from tritonclient.grpc import model_config_pb2 as triton

    return int(getattr(triton, name))


def _inputs(made: Any, fields: dict[str, str], *, optional: bool = False) -> None:
    for name, kind in fields.items():
        made.input.add(name=name, data_type=_type(kind), dims=[1], optional=optional)


def _outputs(made: Any, fields: dict[str, str]) -> None:
    for name, kind in fields.items():
        made.output.add(name=name, data_type=_type(kind), dims=[1])


def _instances(made: Any, count: int, *, kind: str = "KIND_AUTO") -> None:
    """On whatever device there is (KIND_AUTO), on the CPU alone (KIND_CPU), or where the model decides (KIND_MODEL)."""
    from tritonclient.grpc import model_config_pb2 as triton

    made.instance_group.add(count=count, kind=getattr(triton.ModelInstanceGroup, kind))


def _warm_up(made: Any, name: str) -> None:
    """One real question before the first user's."""
    warm = made.model_warmup.add(name="one question", batch_size=1, count=1)
    warm.inputs[name].data_type = _type("TYPE_STRING")
    warm.inputs[name].dims.append(1)
    warm.inputs[name].input_data_file = WARM_UP


def _text(made: Any) -> str:
    from google.protobuf import text_format

    text: str = text_format.MessageToString(made)
    return text
