"""A Triton server can be asked by everybody who reaches it, and controlled with its key alone."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from pipelines.serving import model_configs, triton_server
from pipelines.serving.triton_connection import CONTROL_HEADER, CONTROL_METADATA, Triton

ECHO = """
import triton_python_backend_utils as triton

class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            text = triton.get_input_tensor_by_name(request, "text").as_numpy()
            responses.append(triton.InferenceResponse([triton.Tensor("vector", text)]))
        return responses
"""
CONFIG = """
name: "echo"
backend: "python"
input [{name: "text", data_type: TYPE_FP32, dims: [1]}]
output [{name: "vector", data_type: TYPE_FP32, dims: [1]}]
instance_group [{kind: KIND_CPU}]
"""
# A model that a request brings along: it runs in the server as soon as it is loaded.
UPLOAD = {
    "parameters": {
        "config": json.dumps(
            {
                "name": "intruder",
                "backend": "python",
                "input": [{"name": "text", "data_type": "TYPE_FP32", "dims": [1]}],
                "output": [{"name": "vector", "data_type": "TYPE_FP32", "dims": [1]}],
                "instance_group": [{"kind": "KIND_CPU"}],
            }
        ),
        "file:1/model.py": base64.b64encode(ECHO.encode()).decode(),
    }
}
CONTROL_CALLS = [
    ("POST", "/v2/repository/models/intruder/load", UPLOAD),
    ("POST", "/v2/repository/index", {}),
    ("POST", "/v2/logging", {"log_verbose_level": 1}),
    ("GET", "/v2/logging", None),
    ("GET", "/v2/trace/setting", None),
    ("POST", "/v2/trace/setting", {"trace_level": ["TIMESTAMPS"]}),
    ("GET", "/v2/systemsharedmemory/status", None),
    (
        "POST",
        "/v2/systemsharedmemory/region/x/register",
        {"key": "/x", "offset": 0, "byte_size": 1},
    ),
    ("POST", "/v2/systemsharedmemory/unregister", {}),
    ("GET", "/v2/models/echo/config", None),
    ("GET", "/v2/models/echo/stats", None),
    ("GET", "/v2/models/echo", None),
    ("GET", "/v2", None),
    ("POST", "/v2/repository/models/intruder/unload", {}),
]
GRPC_CALLS: list[Callable[[InferenceServerClient, dict[str, str]], Any]] = [
    lambda client, headers: client.load_model("echo", headers),
    lambda client, headers: client.unload_model("intruder", headers),
    lambda client, headers: client.get_model_repository_index(headers),
    lambda client, headers: client.get_model_config("echo", headers=headers),
    lambda client, headers: client.get_model_metadata("echo", headers=headers),
    lambda client, headers: client.get_server_metadata(headers),
    lambda client, headers: client.get_inference_statistics("echo", headers=headers),
    lambda client, headers: client.get_trace_settings(headers=headers),
    lambda client, headers: client.update_log_settings({"log_verbose_level": 0}, headers),
    lambda client, headers: client.get_system_shared_memory_status(headers=headers),
]


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A server with a model that returns what it is given."""
    folder = tmp_path_factory.mktemp("control")
    (folder / "models/echo/1").mkdir(parents=True)
    (folder / "models/echo/1/model.py").write_text(ECHO)
    (folder / "models/echo" / model_configs.FILE).write_text(CONFIG)
    launch = triton_server.Launch(folder / "models", ["echo"], folder / "triton.log")
    with triton_server.run(launch) as server:
        yield server


def call(
    triton: Triton, method: str, path: str, body: Any, headers: dict[str, str] | None = None
) -> int:
    """The status that the server answers."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(triton.url + path, content, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_everybody_may_ask_and_look_whether_the_server_is_well(triton: Triton) -> None:
    value = {"name": "text", "shape": [1], "datatype": "FP32", "data": [7.0]}
    assert call(triton, "POST", "/v2/models/echo/infer", {"inputs": [value]}) == 200
    assert call(triton, "GET", "/v2/health/ready", None) == 200


def test_without_the_key_every_other_call_is_refused_and_with_it_none(triton: Triton) -> None:
    key = {CONTROL_HEADER: triton.control_key}
    for method, path, body in CONTROL_CALLS:
        assert call(triton, method, path, body) == 403, path
        assert call(triton, method, path, body, {CONTROL_HEADER: "guess"}) == 403, path
    assert "intruder" not in triton.ready_models()
    statuses = [call(triton, *control, key) for control in CONTROL_CALLS]
    assert 403 not in statuses
    assert statuses[0] == 200, "with the key a model can be uploaded"


def test_grpc_takes_the_key_for_the_same_calls(triton: Triton) -> None:
    with triton.client() as client:
        for control in GRPC_CALLS:
            with pytest.raises(InferenceServerException) as caught:
                control(client, {})
            assert "UNAVAILABLE" in str(caught.value.status())
            control(client, {CONTROL_METADATA: triton.control_key})


def test_the_key_stands_neither_in_the_command_line_nor_in_the_log(triton: Triton) -> None:
    assert triton.process is not None
    arguments = Path(f"/proc/{triton.process.pid}/cmdline").read_text()
    assert "--http-restricted-api=metadata," in arguments
    assert triton.control_key not in arguments
    assert triton.control_key not in triton.log.read_text()
