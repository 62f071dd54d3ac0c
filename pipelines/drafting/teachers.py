"""Teachers: language models that propose questions and answer them.

Either an OpenAI-compatible endpoint over HTTP, or the local model in this process.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipelines.config.draft import DraftConfig
from pipelines.errors import Unreachable, UserError
from pipelines.runtime import rendering
from pipelines.runtime.generation import Generator
from pipelines.runtime.rendering import Messages, ModelInput
from pipelines.training import answer_engine
from pipelines.training.answer_engine import Engine

if TYPE_CHECKING:
    import httpx

NUM_ATTEMPTS = 4  # of a request that the endpoint is too busy for
FIRST_PAUSE_SECONDS = 1.0  # before the second attempt; doubles each time
TOO_BUSY = {429, 500, 502, 503, 504}
NO_ACCESS = {401, 403}
MAX_QUOTED_CHARACTERS = 200  # of what an endpoint answered


class Teacher(Protocol):
    """A model that completes prompts, greedily."""

    @property
    def name(self) -> str: ...

    def ask(self, prompts: Sequence[ModelInput], max_new_tokens: int) -> list[str]:
        """The answers in the order of the prompts. Raises UserError or Unreachable."""
        ...


@dataclass(frozen=True)
class Endpoint:
    """A model behind an OpenAI-compatible endpoint."""

    config: DraftConfig

    @property
    def name(self) -> str:
        return f"{self.config.model} at {self.config.url}"

    def ask(self, prompts: Sequence[ModelInput], max_new_tokens: int) -> list[str]:
        import httpx

        with (
            httpx.Client(headers=self._headers(), timeout=self.config.timeout_seconds) as client,
            ThreadPoolExecutor(self.config.requests_at_once) as pool,
        ):
            return list(pool.map(lambda item: self._ask(client, item, max_new_tokens), prompts))

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self.config.key_variable)
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _ask(self, client: "httpx.Client", prompt: ModelInput, max_new_tokens: int) -> str:
        body: dict[str, object] = {
            "model": self.config.model,
            "messages": as_messages(prompt),
            "max_tokens": max_new_tokens,
            "temperature": 0,
        }
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(NUM_ATTEMPTS):
            response = self._post(client, body)
            if response.status_code not in TOO_BUSY:
                return self._content(response)
            if attempt < NUM_ATTEMPTS - 1:
                time.sleep(pause)
                pause *= 2
        raise Unreachable(
            f"params.yaml: draft.url: {self.config.url} answered {response.status_code} "
            f"{NUM_ATTEMPTS} times ({_quote(response.text)}): try again later, or lower "
            f"draft.requests_at_once ({self.config.requests_at_once})"
        )

    def _post(self, client: "httpx.Client", body: dict[str, object]) -> "httpx.Response":
        import httpx

        url = f"{str(self.config.url).rstrip('/')}/chat/completions"
        try:
            return client.post(url, json=body)
        except httpx.TimeoutException as error:
            raise Unreachable(
                f"params.yaml: draft.url: {url} did not answer within draft.timeout_seconds "
                f"({self.config.timeout_seconds:g} s): raise it, or try again later"
            ) from error
        except httpx.HTTPError as error:
            raise Unreachable(
                f"params.yaml: draft.url: {url} cannot be reached ({error}): correct it, or set it "
                "to null for the local model"
            ) from error

    def _content(self, response: "httpx.Response") -> str:
        config = self.config
        if response.status_code in NO_ACCESS:
            raise UserError(
                f"params.yaml: draft.url: {config.url} refuses the key: put one into the "
                f"environment variable {config.key_variable} (draft.key_variable)"
            )
        if response.status_code != 200:
            raise UserError(
                f"params.yaml: draft.url: {config.url} answered {response.status_code} for the "
                f"model {config.model} (draft.model): {_quote(response.text)}"
            )
        try:
            content = response.json()["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError) as error:
            raise UserError(
                f"params.yaml: draft.url: {config.url} does not answer as an OpenAI-compatible "
                f"endpoint does (choices[0].message.content): {_quote(response.text)}"
            ) from error
        return str(content or "").strip()


@dataclass(frozen=True)
class LocalModel:
    """A model in this process."""

    name: str
    generator: Generator
    batch_size: int

    def ask(self, prompts: Sequence[ModelInput], max_new_tokens: int) -> list[str]:
        answers = self.generator.answer(prompts, max_new_tokens, self.batch_size)
        return [answer.text for answer in answers]


def load_local(
    name: str, engine: Engine, base: Path, adapter: Path | None, batch_size: int
) -> LocalModel:
    """The model of `base`, with the adapter merged into it. Raises UserError if it is missing."""
    if not base.exists():
        raise UserError(
            f"{base} is missing: `dvc repro base` makes it; or name an endpoint in params.yaml: "
            "draft.url"
        )
    generator = answer_engine.load(engine, base, adapter, "fp32", batch_size)
    return LocalModel(name, generator, batch_size)


def as_messages(prompt: ModelInput) -> Messages:
    """The prompt as a chat; a text becomes the user's message."""
    if isinstance(prompt, str):
        return [{"role": "user", "content": rendering.plain_text(prompt)}]
    return prompt


def _quote(text: str) -> str:
    return " ".join(text.split())[:MAX_QUOTED_CHARACTERS]
