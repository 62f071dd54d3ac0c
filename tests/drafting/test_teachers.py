import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import params
from pipelines.config.draft import DraftConfig
from pipelines.drafting import teachers
from pipelines.drafting.teachers import Endpoint
from pipelines.errors import Unreachable, UserError

ROOT = Path(__file__).parents[2]
Reply = tuple[int, object]


@contextmanager
def endpoint(reply: Callable[[dict[str, Any], str], Reply]) -> Iterator[DraftConfig]:
    """A server that answers each request's body and key by `reply`; gives the section for it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, content = reply(body, self.headers.get("Authorization", ""))
            if self.path != "/v1/chat/completions":
                status = 404
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = params.load(ROOT / "params.yaml").section(DraftConfig)
    url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield config.model_copy(update={"url": url, "model": "m", "timeout_seconds": 5.0})
    finally:
        server.shutdown()
        server.server_close()


def completion(text: str) -> Reply:
    return 200, {"choices": [{"message": {"role": "assistant", "content": text}}]}


def test_answers_come_in_the_order_of_the_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")

    def reply(body: dict[str, Any], key: str) -> Reply:
        assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0, 7)
        assert key == "Bearer secret"
        return completion(f" {body['messages'][-1]['content']}! ")

    prompts = [[{"role": "user", "content": f"p{number}"}] for number in range(20)]
    with endpoint(reply) as config:
        answers = Endpoint(config).ask([*prompts, "a text"], 7)
    assert answers == [f"p{number}!" for number in range(20)] + ["a text!"]


def test_a_busy_endpoint_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teachers, "FIRST_PAUSE_SECONDS", 0.01)
    replies = [(429, "slow down"), (503, "starting"), completion("now")]
    with endpoint(lambda _body, _key: replies.pop(0)) as config:
        assert Endpoint(config).ask(["q"], 7) == ["now"]
    with (
        endpoint(lambda _body, _key: (429, "slow down")) as config,
        pytest.raises(Unreachable, match="draft.requests_at_once"),
    ):
        Endpoint(config).ask(["q"], 7)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((401, "no"), "environment variable OPENAI_API_KEY"),
        ((404, "no such model"), "draft.model"),
        ((200, {"result": "x"}), "does not answer as an OpenAI-compatible endpoint"),
    ],
)
def test_an_error_of_the_endpoint_names_the_key_to_change(reply: Reply, words: str) -> None:
    with endpoint(lambda _body, _key: reply) as config, pytest.raises(UserError, match=words):
        Endpoint(config).ask(["q"], 7)


def test_an_endpoint_that_is_not_there_is_unreachable() -> None:
    with endpoint(lambda _body, _key: completion("x")) as config:
        pass
    with pytest.raises(Unreachable, match="set it to null for the local model"):
        Endpoint(config).ask(["q"], 7)


def test_a_missing_base_model_names_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro base"):
        teachers.load_local("base", "transformers", tmp_path / "models/base", None, 4)
