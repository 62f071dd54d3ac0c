"""Asks another model of the same server, by gRPC to the server's own port.

The Python backend has a way of its own for that (business logic scripting); in Triton 2.51 it ends the process with a segmentation fault
under threads, cannot be cancelled and waits for ever for a process that was killed. A call by gRPC has a deadline, can be cancelled,
and its cancellation reaches the other model.
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

KINDS = {"bool": "BOOL", "int32": "INT32", "float32": "FP32", "float64": "FP64", "object": "BYTES"}
DTYPES = {"BOOL": np.bool_, "INT32": np.int32, "UINT32": np.uint32, "FP32": np.float32, "FP64": np.float64}
Arrays = dict[str, Any]


class PeerError(Exception):
    """The other model did not answer; the text is the server's own."""


class Server:
    """The server that this model runs in (ASSISTANT_GRPC, else Triton's usual port)."""

    def __init__(self) -> None:
        import grpc
        from tritonclient.grpc import service_pb2_grpc

        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._grpc = grpc
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(os.environ.get("ASSISTANT_GRPC", "127.0.0.1:8001"), options))

    def infer(self, model: str, version: str, inputs: Arrays, seconds: float) -> Arrays:
        """The outputs of a model that gives one response. Raises PeerError."""
        try:
            return _read(self._stub.ModelInfer(_request(model, version, inputs), timeout=max(0.001, seconds)))
        except self._grpc.RpcError as error:
            raise PeerError(_said(error, model)) from error

    def stream(self, model: str, version: str, inputs: Arrays, seconds: float) -> "Stream":
        """The responses of a model that gives several."""
        return Stream(self._stub.ModelStreamInfer(iter([_request(model, version, inputs)]), timeout=max(0.001, seconds)), model, self._grpc.RpcError)


class Stream:
    """A request under way. Iterating raises PeerError."""

    def __init__(self, call: Any, model: str, error: type[Exception]):
        self._call, self._model, self._error = call, model, error

    def cancel(self) -> None:
        """End it; the other model sees that its client has gone."""
        self._call.cancel()

    def __iter__(self) -> Iterator[Arrays]:
        try:
            for response in self._call:
                if response.error_message:
                    raise PeerError(response.error_message)
                yield _read(response.infer_response)
        except self._error as error:
            raise PeerError(_said(error, self._model)) from error


def text(content: str) -> Any:
    return np.array([content.encode("utf-8")], dtype=np.object_)


def _request(model: str, version: str, inputs: Arrays) -> Any:
    from tritonclient.grpc import service_pb2

    made = service_pb2.ModelInferRequest(model_name=model, model_version=version)
    for name, value in inputs.items():
        made.inputs.add(name=name, datatype=KINDS[str(value.dtype)], shape=value.shape)
        made.raw_input_contents.append(b"".join(len(one).to_bytes(4, "little") + one for one in value.reshape(-1)) if value.dtype == np.object_ else value.tobytes())
    return made


def _read(response: Any) -> Arrays:
    found: Arrays = {}
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        shape = tuple(output.shape)
        found[output.name] = _texts(raw).reshape(shape) if output.datatype == "BYTES" else np.frombuffer(raw, dtype=DTYPES[output.datatype]).reshape(shape)
    return found


def _texts(raw: bytes) -> Any:
    found, place = [], 0
    while place < len(raw):
        length = int.from_bytes(raw[place : place + 4], "little")
        found.append(raw[place + 4 : place + 4 + length])
        place += 4 + length
    return np.array(found, dtype=np.object_)


def _said(error: Any, model: str) -> str:
    code = error.code().name if hasattr(error, "code") and error.code() else type(error).__name__
    if code == "DEADLINE_EXCEEDED":
        return f"the time limit passed while {model} was asked"
    if code == "CANCELLED":
        return "the request was cancelled"
    return f"{model}: {error.details() if hasattr(error, 'details') else error}"
