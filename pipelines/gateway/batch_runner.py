"""Works on the lines of batches while live requests leave room for them.

A line is started only while the assistant has fewer requests under way than
`serve.max_requests_at_once` less `gateway.batches.free_places`, and while this gateway works on
fewer than `lines_at_once`. The assistant itself says how many it has, so requests that came to it
by other ways count; one that ASSISTANT_URL names has only this gateway's requests counted.
"""

import asyncio
import json
import time
import traceback
from typing import Any

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from pipelines.errors import UserError
from pipelines.gateway import (
    api_errors,
    batch_input,
    batch_results,
    batch_store,
    chat,
    embeddings,
    keys,
    token_owners,
)
from pipelines.gateway.api_errors import ApiError, Broken, Overload, TooMany, Unavailable
from pipelines.gateway.batch_endings import BatchEndings
from pipelines.gateway.batch_input import InvalidInput, Problem
from pipelines.gateway.batch_store import LINE_COMPLETED, LINE_FAILED, Claim
from pipelines.gateway.chat_request import ChatRequest
from pipelines.gateway.embeddings import EmbeddingRequest
from pipelines.gateway.keys import Key, Role
from pipelines.gateway.state import Gateway
from pipelines.runtime.metric_names import UNDER_WAY
from pipelines.serving import client

POLL_SECONDS = 0.2  # between two looks for room or for a line
LOOK_SECONDS = 2.0  # between two looks at what is to begin or to end, and two renewals
CLEAN_SECONDS = 600.0  # between two removals of what has expired
MAX_TRIES = 3  # of a line that the assistant fails to answer
RETRY_SECONDS = 5.0
STOP_SECONDS = 8.0  # for lines under way when the gateway ends


class BatchRunner:
    """Works on batches until it is told to stop. Gateways with one database share the work."""

    def __init__(self, gateway: Gateway):
        self._gateway = gateway
        self._config = gateway.config.batches
        self._store = gateway.batches
        self._endings = BatchEndings(gateway.engine, self._config)
        self._tasks: dict[asyncio.Task[None], Claim] = {}
        self._loop: asyncio.Task[None] | None = None
        self._last_look = 0.0
        self._last_cleaning = 0.0
        self._is_stopping = False

    def start(self) -> None:
        """Begin to work, in the running event loop."""
        self._loop = asyncio.create_task(self._run())

    async def _run(self) -> None:
        """Until `stop`. What goes wrong is in the log, and is tried again."""
        while not self._is_stopping:
            try:
                await asyncio.to_thread(self._look_now_and_then)
                if not await self._start_line():
                    await self._pause()
            except (SQLAlchemyError, UserError, OSError, ValueError) as error:
                print(f"batches: {error}; trying again", flush=True)
                await asyncio.sleep(LOOK_SECONDS)
            except Exception as error:  # a mistake of ours must not end all batches for good
                traceback.print_exception(error)
                await asyncio.sleep(LOOK_SECONDS)

    async def stop(self) -> None:
        """Start no more lines, and end those under way."""
        self._is_stopping = True
        if self._loop is not None:
            await self._loop
        tasks = list(self._tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pause(self) -> None:
        """A moment, or until a line under way ends."""
        if self._tasks:
            tasks = list(self._tasks)
            await asyncio.wait(tasks, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(POLL_SECONDS)

    # --- batches as a whole; in a thread ---

    def _look_now_and_then(self) -> None:
        if time.monotonic() - self._last_look < LOOK_SECONDS:
            return
        self._last_look = time.monotonic()
        request_ids = [claim.request_id for claim in list(self._tasks.values())]
        if request_ids:
            self._store.renew(request_ids)
        for batch in self._store.read_open():
            if batch.status == batch_store.VALIDATING:
                self._read_input(batch)
            else:
                self._check_key(batch)
                self._endings.look(batch)
        if time.monotonic() - self._last_cleaning > CLEAN_SECONDS or not self._last_cleaning:
            self._last_cleaning = time.monotonic()
            self._endings.remove_old()
            self._gateway.files.remove_expired()

    def _read_input(self, batch: Any) -> None:
        """Begin a batch, or end it with what is wrong in its input."""
        files = self._gateway.files
        max_bytes = self._gateway.config.max_body_bytes
        try:
            parts = files.read(files.find(batch.tenant, batch.input_file_id))
            requests = batch_input.read(parts, batch.endpoint, self._config, max_bytes)
        except InvalidInput as error:
            self._store.fail(batch.id, error.problems)
        except ApiError as error:
            self._store.fail(batch.id, [Problem(error.code or "invalid_file", str(error))])
        else:
            self._store.start(batch.id, requests)

    def _check_key(self, batch: Any) -> None:
        """Cancel a batch whose key is valid no more."""
        if not keys.is_valid(self._gateway.engine, batch.key_id, batch.tenant):
            message = "the key of this batch was revoked or has expired"
            if token_owners.is_owner(batch.key_id):
                message = (
                    "whoever began this batch has no valid token of its tenant any more: the last "
                    "that the gateway was shown has expired, names another tenant, or is revoked"
                )
            self._store.stop(batch.id, Problem("key_ended", message))

    # --- lines ---

    async def _start_line(self) -> bool:
        """Returns whether there was room, and a line."""
        if len(self._tasks) >= self._config.lines_at_once:
            return False
        if not await asyncio.to_thread(self._store.has_lines) or not await self._has_room():
            return False
        claim = await asyncio.to_thread(self._store.claim)
        if claim is None:
            return False
        task = asyncio.create_task(self._work(claim))
        self._tasks[task] = claim
        task.add_done_callback(self._tasks.pop)
        return True

    async def _has_room(self) -> bool:
        try:
            elsewhere = await asyncio.to_thread(_count_under_way)
        except (UserError, OSError) as error:
            print(f"batches: the assistant does not answer: {error}; waiting", flush=True)
            await asyncio.sleep(LOOK_SECONDS)
            return False
        here = len(self._tasks) + self._gateway.limits.num_under_way()
        limit = self._gateway.settings.max_requests_at_once - self._config.free_places
        return max(here, elsewhere) < limit

    async def _work(self, claim: Claim) -> None:
        """Answer a line and store its result, or put the line back."""
        try:
            await self._answer(claim)
        except asyncio.CancelledError:
            await asyncio.to_thread(self._store.put_back, claim, 0.0, has_failed=False)
            raise
        except Exception as error:  # one line must not end the others
            # Its database failed, or a mistake of ours: the lease ends, and it is asked again.
            traceback.print_exception(error)

    async def _answer(self, claim: Claim) -> None:
        name = batch_results.custom_id(claim.request)
        try:
            body = await self._ask(claim)
        except ApiError as error:
            if isinstance(error, Overload):
                await self._put_back(claim, RETRY_SECONDS, has_failed=False)
            elif _may_pass(error) and claim.num_tries + 1 < MAX_TRIES:
                seconds = RETRY_SECONDS * 2**claim.num_tries
                await self._put_back(claim, seconds, has_failed=True)
            else:
                result = batch_results.refusal(name, claim.request_id, error)
                await self._finish(claim, LINE_FAILED, result)
        else:
            result = batch_results.success(name, claim.request_id, body)
            await self._finish(claim, LINE_COMPLETED, result)

    async def _ask(self, claim: Claim) -> dict[str, Any]:
        """What a live request of the same body would get. Raises ApiError."""
        groups = await asyncio.to_thread(keys.read_groups, self._gateway.engine, claim.key_id)
        await asyncio.to_thread(self._store.record_groups, claim.batch_id, groups)
        key = Key(claim.key_id, claim.tenant, Role.ASKER, groups)
        text = json.dumps(json.loads(claim.request)["body"])
        try:
            if claim.endpoint == batch_input.EMBEDDINGS:
                vectors = EmbeddingRequest.model_validate_json(text)
                return await embeddings.answer_line(self._gateway, key, claim.request_id, vectors)
            question = ChatRequest.model_validate_json(text)
            return await chat.answer_line(self._gateway, key, claim.request_id, question)
        except ValidationError as error:
            raise api_errors.invalid_request(error.errors()[0]) from error
        except ApiError:
            raise
        except Exception as error:  # as a live request would be told
            traceback.print_exception(error)
            raise Broken("the gateway failed at this line; its log says why") from error

    async def _put_back(self, claim: Claim, seconds: float, *, has_failed: bool) -> None:
        self._gateway.metrics.count_line("tried again")
        await asyncio.to_thread(self._store.put_back, claim, seconds, has_failed=has_failed)

    async def _finish(self, claim: Claim, status: str, result: str) -> None:
        if await asyncio.to_thread(self._store.finish, claim, status, result):
            self._gateway.metrics.count_line(status)


def _may_pass(error: ApiError) -> bool:
    """Whether the same line may be answered later."""
    return isinstance(error, (Unavailable, TooMany, Broken))


def _count_under_way() -> int:
    """Requests that the assistant says it has; 0 if it is another machine's, which says nothing.

    Raises UserError or OSError if it does not answer.
    """
    server = client.find_server()
    if client.is_external():
        if not server.is_ready():
            raise UserError(f"{server.url} is not ready")
        return 0
    for line in server.metrics().splitlines():
        if line.startswith(UNDER_WAY):
            return int(float(line.rpartition(" ")[2]))
    raise UserError(
        f"the assistant's metrics have no {UNDER_WAY}: it was started by an older version; "
        "restart `make serve`"
    )
