"""The client asks a gateway elsewhere: over https, with a key, through nginx too."""

import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from pipelines.errors import UserError
from pipelines.serving import client, gateway_client
from pipelines.serving.client import Answer, AskError, Question
from tests.gateway.conftest import run_gateway
from tests.gateway.proxies import NGINX, NO_NGINX, Certificate, run_nginx
from tests.gateway.test_openai import messages, record_of
from tests.serving.conftest import QUESTIONS, ROOT

QUESTION = QUESTIONS[0]


@pytest.fixture(scope="module")
def encrypted_url(assistant: Path, certificate: Certificate) -> Iterator[str]:
    """A gateway with TLS in front of the assistant."""
    files = {"tls_certificate": str(certificate.path), "tls_key": str(certificate.key)}
    with run_gateway(**files) as url:
        yield url


@pytest.fixture
def environment(
    encrypted_url: str,
    certificate: Certificate,
    new_key: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client's variables."""
    monkeypatch.setenv(gateway_client.URL, encrypted_url)
    monkeypatch.setenv(gateway_client.KEY, new_key("shop"))
    monkeypatch.setenv(gateway_client.CA, str(certificate.authority))


def test_the_client_asks_over_https_and_gives_feedback(environment: None) -> None:
    *pieces, answer = client.stream(QUESTION)
    assert isinstance(answer, Answer)
    assert "".join(str(piece) for piece in pieces) == answer.text
    assert answer.citations[0]["uri"].startswith("handbook/")
    assert (answer.release_id, answer.num_new_tokens > 0) == ("r-one", True)
    assert client.ask(Question(QUESTION, max_new_tokens=1)).num_new_tokens == 1
    record = record_of(answer.request_id)
    assert (record.tenant, record.status) == ("shop", "ok")
    feedback = [sys.executable, "-m", "pipelines", "feedback", answer.request_id, "--who", "ada"]
    output = subprocess.run(
        [*feedback, "--thumb", "up"], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout
    assert output.startswith("noted by https://")


def test_the_command_ask_prints_answer_and_passages(environment: None) -> None:
    command = [sys.executable, "-m", "pipelines", "ask", QUESTION]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert "release r-one, request " in output
    assert "[1] handbook/" in output


def test_what_the_gateway_refuses_is_an_error_with_its_words(
    environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AskError, match="status 400: rejected: the question has 301") as rejected:
        client.ask("x" * 301)
    assert rejected.value.status.value == "rejected"
    with pytest.raises(UserError, match="tenant 'bank': a gateway knows the tenant by the key"):
        client.ask(Question(QUESTION, tenant="bank"))
    with pytest.raises(UserError, match="this takes a Triton server: unset ASSISTANT_KEY"):
        client.find_server()
    monkeypatch.setenv(gateway_client.KEY, "ak-guess")
    with pytest.raises(AskError, match="status 401: no valid key"):
        client.ask(QUESTION)


def test_a_certificate_of_an_unknown_authority_is_refused(
    environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(gateway_client.CA)
    with pytest.raises(UserError, match=r"no answer from https://.*certificate verify failed"):
        client.ask(QUESTION)


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        (gateway_client.URL, "http://192.0.2.7:8100", "would send the key in plain text"),
        (gateway_client.URL, "assistant.example.com", "is not a gateway's address"),
        (gateway_client.CA, "/nowhere.pem", "there is no file /nowhere.pem"),
        (gateway_client.CA, __file__, "holds no certificate in PEM form"),
    ],
)
def test_a_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, problem: str
) -> None:
    monkeypatch.setenv(gateway_client.URL, "https://localhost:1")
    monkeypatch.setenv(gateway_client.KEY, "ak-x")
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=f"{variable}: .*{problem}"):
        client.ask(QUESTION)


@pytest.mark.skipif(NGINX is None, reason=NO_NGINX)
def test_behind_nginx_an_answer_streams(
    gateway: str, certificate: Certificate, new_key: Callable[..., str], tmp_path: Path
) -> None:
    with run_nginx(gateway, certificate, tmp_path) as url:
        context = ssl.create_default_context(cafile=str(certificate.authority))
        browser = openai.DefaultHttpxClient(verify=context)
        asker = OpenAI(base_url=f"{url}/v1", api_key=new_key(), max_retries=0, http_client=browser)
        stream = asker.chat.completions.create(
            model="assistant", messages=messages(QUESTION), stream=True
        )
        times = []
        for _ in stream:
            times.append(time.monotonic())
        assert len(times) > 3
        # Pieces that a proxy gathers arrive at once.
        assert times[-1] - times[0] > 0.005
        # A long body is refused by the gateway, in its own form.
        with pytest.raises(openai.APIStatusError, match="is longer than"):
            asker.chat.completions.create(model="assistant", messages=messages("x" * 600_000))
