"""Asks a release that is loaded in the live server directly, past the entry and out of its log.

Nobody waits for the answer, so it gives way: the request is cancelled when users come.
"""

import json
import queue
import time
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from pipelines.runtime.groundedness import REST_FACTOR
from pipelines.runtime.metric_names import UNDER_WAY
from pipelines.runtime.status import Status
from pipelines.serving import client
from pipelines.serving.client import Question
from pipelines.serving.triton_connection import Triton

if TYPE_CHECKING:
    from tritonclient.grpc import InferResult

Row = dict[str, Any]  # as in the traffic log, as far as the release itself fills it
LOOK_SECONDS = 0.05  # between two looks whether users have come
TENANT = "shadow"


class ReleaseClient:
    """Asks releases one request at a time, when no user waits for an answer."""

    def __init__(self, triton: Triton):
        self._triton = triton
        self._rest_ends: dict[str, float] = {}  # release -> when it can measure groundedness again

    def is_quiet(self) -> bool:
        """Whether no user waits for an answer. Raises UserError if the server does not say so."""
        for line in self._triton.metrics().splitlines():
            if line.startswith(UNDER_WAY):
                return float(line.split()[-1]) == 0
        raise UserError(
            f"the live server does not say how many requests are under way ({UNDER_WAY}): an "
            "earlier version of the code has started it. Start `make serve` again, then release"
        )

    def ask(self, release_id: str, text: str, seconds: float) -> Row | None:
        """The row that the release has filled; None if users came and it was cancelled.

        A release that does not answer at all gives a failed row with its error.
        """
        from tritonclient.utils import InferenceServerException

        time.sleep(max(0.0, self._rest_ends.get(release_id, 0.0) - time.monotonic()))
        question = Question(text, tenant=TENANT, timeout_seconds=seconds)
        results: queue.Queue[InferResult | Exception] = queue.Queue()
        connection = self._triton.client()
        row: Row | None = None
        try:
            connection.start_stream(
                callback=lambda result, error: results.put(error or result),
                stream_timeout=seconds + client.SLACK_SECONDS,
                headers={"triton_grpc_error": "true"},
            )
            inputs = client.grpc_inputs(question, is_streamed=False)
            connection.async_stream_infer(f"assistant-{release_id}", inputs)
            row = self._wait(release_id, results, seconds + 2 * client.SLACK_SECONDS)
        except InferenceServerException as error:
            row = _failure(error.message() or str(error))
        finally:
            connection.stop_stream(cancel_requests=row is None)
            connection.close()
        return row

    def _wait(
        self, release_id: str, results: "queue.Queue[InferResult | Exception]", seconds: float
    ) -> Row | None:
        """The record that ends the release's responses; None as soon as users come."""
        deadline = time.monotonic() + seconds
        answer_time = time.monotonic()
        while time.monotonic() < deadline:
            try:
                result = results.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                if not self.is_quiet():
                    return None
                continue
            if isinstance(result, Exception):
                raise result
            record = result.as_numpy("record").reshape(-1)[0].decode()
            if record:
                measuring = time.monotonic() - answer_time
                self._rest_ends[release_id] = time.monotonic() + REST_FACTOR * measuring
                row: Row = json.loads(record)
                return row
            answer_time = time.monotonic()
        return _failure("no answer came in time")


def _failure(error: str) -> Row:
    return {"status": Status.FAILED, "error": error, "answer": None, "guard_flags": []}
