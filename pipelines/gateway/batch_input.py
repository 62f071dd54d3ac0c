"""The lines of a batch's input: JSON, each a request with an id of its client's choice."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, ValidationError

from pipelines.config.gateway import Batches
from pipelines.gateway.chat_request import Body, Text

MAX_CUSTOM_ID = 512  # characters
MAX_PROBLEMS = 20  # that are told
CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
Endpoint = Literal["/v1/chat/completions", "/v1/embeddings"]


class Line(Body):
    """A line, as OpenAI has it. Its body is looked at when its turn comes."""

    custom_id: Text = Field(min_length=1, max_length=MAX_CUSTOM_ID)
    method: Literal["POST"]
    url: Endpoint
    body: dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """Why a batch cannot be worked on. `line` counts from 1; None: it is not about a line."""

    code: str
    message: str
    line: int | None = None


class InvalidInput(Exception):
    """An input of which nothing is worked on."""

    def __init__(self, problems: list[Problem]):
        super().__init__(problems[0].message)
        self.problems = problems


def read(parts: Iterable[bytes], endpoint: str, config: Batches, max_bytes: int) -> list[str]:
    """What is stored of each line. `max_bytes`: of a line. Raises InvalidInput."""
    requests: list[str] = []
    problems: list[Problem] = []
    ids: set[str] = set()
    for number, text in _lines(parts, max_bytes):
        try:
            line = _parse(text, endpoint, ids, max_bytes)
        except ValueError as error:
            problems.append(Problem("invalid_line", _reason(error), number))
            if len(problems) == MAX_PROBLEMS:
                break
            continue
        ids.add(line.custom_id)
        requests.append(json.dumps({"custom_id": line.custom_id, "body": line.body}))
        if len(requests) > config.max_lines:
            message = f"there are more than {config.max_lines} lines (gateway.batches.max_lines)"
            raise InvalidInput([Problem("too_many_lines", message)])
    if not requests and not problems:
        problems.append(Problem("empty_file", "the file has no lines"))
    if problems:
        raise InvalidInput(problems)
    return requests


def _parse(text: bytes, endpoint: str, ids: set[str], max_bytes: int) -> Line:
    if len(text) > max_bytes:
        raise ValueError(f"the line is longer than {max_bytes} bytes (gateway.max_body_bytes)")
    line = Line.model_validate_json(text)
    if line.url != endpoint:
        raise ValueError(f"url is {line.url}, and the batch is for {endpoint}")
    if line.custom_id in ids:
        raise ValueError(f"custom_id {line.custom_id!r} is that of an earlier line")
    return line


def _reason(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    problem = error.errors()[0]
    location = ".".join(str(part) for part in problem["loc"])
    return f"{location or 'the line'}: {problem['msg']}"


def _lines(parts: Iterable[bytes], max_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Lines that hold anything, with their numbers. One that is too long is cut."""
    number = 1
    rest = b""
    for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if line.strip():
                yield number, line.strip()
            number += 1
        rest = rest[: max_bytes + 1]
    if rest.strip():
        yield number, rest.strip()
