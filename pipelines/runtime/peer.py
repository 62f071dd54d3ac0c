"""Calls another model of the same server, by gRPC to the server's own port.

The Python backend has its own way to do that (business logic scripting). In Triton 2.51 it ends
the process with a segmentation fault under threads, cannot be cancelled, and waits forever for a
process that was killed. A gRPC call has a deadline, can be cancelled, and its cancellation reaches
the other model.
"""

import os
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import InferResult, service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

from .arrays import Arrays
from .status import RequestError, Status, from_grpc

ANY_SIZE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
MIN_SECONDS = 0.001
# Without this header a stream's errors are bare messages; with it they are gRPC status codes.
# Triton then ends the stream at its first error, which suits streams of one request.
WITH_CODES = (("triton_grpc_error", "true"),)


class PeerError(RequestError):
    """The other model did not answer. `status` comes from the server's code."""


class Server:
    """The server in which this model runs (ASSISTANT_GRPC, or Triton's usual port)."""

    def __init__(self) -> None:
        address = os.environ.get("ASSISTANT_GRPC", "127.0.0.1:8001")
        channel = grpc.insecure_channel(address, ANY_SIZE)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

    def infer(self, model: str, version: str, inputs: Arrays, seconds: float) -> Arrays:
        """The outputs of a model that gives one response. Raises PeerError."""
        message = _write_request(model, version, inputs)
        try:
            response = self._stub.ModelInfer(message, timeout=max(MIN_SECONDS, seconds))
        except grpc.RpcError as error:
            raise _peer_error(error, model, prefix=f"{model}: ") from error
        return _read_response(response)

    def stream(self, model: str, version: str, inputs: Arrays, seconds: float) -> "Stream":
        """The responses of a model that gives several."""
        messages = iter([_write_request(model, version, inputs)])
        timeout = max(MIN_SECONDS, seconds)
        call = self._stub.ModelStreamInfer(messages, timeout=timeout, metadata=WITH_CODES)
        return Stream(call, model)


class Stream:
    """A request under way. Iterating over its responses raises PeerError."""

    def __init__(self, call: Any, model: str):
        self._call = call
        self._model = model

    def cancel(self) -> None:
        """End the request; the other model sees that its client has left."""
        self._call.cancel()

    def __iter__(self) -> Iterator[Arrays]:
        try:
            for response in self._call:
                if response.error_message:  # from a server that does not know the header
                    raise PeerError(Status.FAILED, response.error_message)
                yield _read_response(response.infer_response)
        except grpc.RpcError as error:
            raise _peer_error(error, self._model) from error


def _write_request(model: str, version: str, inputs: Arrays) -> Any:
    message = service_pb2.ModelInferRequest(model_name=model, model_version=version)
    for name, array in inputs.items():
        datatype = np_to_triton_dtype(array.dtype)
        message.inputs.add(name=name, datatype=datatype, shape=array.shape)
        is_text = array.dtype == np.object_
        content = serialize_byte_tensor(array).item() if is_text else array.tobytes()
        message.raw_input_contents.append(content)
    return message


def _read_response(response: Any) -> Arrays:
    result = InferResult(response)
    return {output.name: result.as_numpy(output.name) for output in response.outputs}


def _peer_error(error: grpc.RpcError, model: str, prefix: str = "") -> PeerError:
    """The error with a message for people; the status comes from the code alone."""
    code = error.code()
    messages = {
        grpc.StatusCode.DEADLINE_EXCEEDED: f"the time limit passed while {model} was asked",
        grpc.StatusCode.CANCELLED: "the request was cancelled",
    }
    return PeerError(from_grpc(code.name), messages.get(code, f"{prefix}{error.details()}"))
