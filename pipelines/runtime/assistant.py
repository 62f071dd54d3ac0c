"""The Triton model `assistant` of one release: guard, embed, search, prompt, generate, cite.

It asks its own release's `embedder` and `generator` inside the server. If it is loaded as
`assistant-<release>`, these have the same suffix. See exchange.py for inputs and outputs. Requests
are worked on side by side, each in a thread, so that the generator gets batches. Without a suffix
the model is what users ask, and writes the traffic log itself if ASSISTANT_TRAFFIC names a folder.
"""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import (
    arrays,
    comparison,
    engines,
    exchange,
    guard,
    injection,
    late_interaction,
    leaks,
    passage_search,
    peer,
    rendering,
    withholding,
)
from .engines import Task
from .exchange import Reply, UserRequest
from .groundedness import Groundedness
from .guard_actions import Action
from .passage_search import Query
from .status import RequestError, Status
from .traffic_row import Timer, milliseconds_since, new_row
from .withholding import Limits

if TYPE_CHECKING:
    from .traffic_log import RequestLog

GRACE_SECONDS = 2.0  # after its deadline the generator itself says that the time is over
# Texts encoded in one call for groundedness: a question that arrives meanwhile waits for so few.
TEXTS_AT_ONCE = 4
CITATION_FIELDS = (
    *("chunk_id", "uri", "title", "headings", "pages", "start", "end", "score"),
    "text",
)
WITHHELD = "I cannot answer that."  # if the release knows no refusal
RETRIEVED_FIELDS = ("chunk_id", "uri", "score")
Passages = list[dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """One request under way, with its row in the traffic log."""

    request: UserRequest
    reply: Reply
    row: dict[str, Any]
    start: float  # seconds since 1970
    deadline: float  # the same


class Reading(NamedTuple):
    """What the generator wrote about some passages, and the flags of what was withheld."""

    answer: dict[str, Any]
    passages: Passages
    flags: list[str]


class TritonPythonModel:
    """The class that Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read this version's settings and prompt; nothing heavy."""
        folder = Path(args["model_repository"]) / args["model_version"]
        self.settings = json.loads((folder / "settings.json").read_text())
        self.suffix = args["model_name"].removeprefix("assistant")
        self.version = args["model_version"]
        self.server = peer.Server()
        self.cancellation = exchange.Cancellation()
        self.injection = injection.read(folder / injection.FILE)
        self.prompt_phrases = leaks.phrases(self.settings["prompt"], self.settings["refusals"])
        self.refusals = {comparison.normalize(text) for text in self.settings["refusals"]}
        limits = self.settings["withholding"]
        self.limits = Limits(**limits) if limits else None
        self.index = passage_search.Index(
            self.settings["collection"], self.settings["search_timeout_seconds"]
        )
        self.pool = ThreadPoolExecutor(self.settings["max_requests_at_once"])
        self.groundedness = Groundedness(self._encode, self.settings["grounded_similarity"])
        self.request_log = None if self.suffix else _open_request_log()

    def execute(self, requests: list[Any]) -> None:
        """Hand each request to a thread."""
        for request in requests:
            self.pool.submit(self._serve, exchange.read(request), Reply(request))

    def finalize(self) -> None:
        """Finish the requests under way, then close the log."""
        self.pool.shutdown(wait=True)
        if self.request_log is not None:
            self.request_log.close()

    def _serve(self, request: UserRequest, reply: Reply) -> None:
        """Answer one request; it always ends with an answer or an error, and with its row."""
        start = time.time()
        max_seconds = self.settings["timeout_seconds"]
        deadline = start + min(request.timeout_seconds or max_seconds, max_seconds)
        question = request.question[: self.settings["max_question_characters"]]
        row = new_row(self.settings["release_id"], question)
        job = Job(request, reply, row, start, deadline)
        try:
            self._answer(job)
        except RequestError as error:
            row |= {"status": error.status, "error": str(error)}
        except Exception as error:  # nothing may leave a request without its end
            row |= {"status": Status.FAILED, "error": f"{type(error).__name__}: {error}"}
        row.setdefault("total_ms", milliseconds_since(start))
        self._finish(job)

    def _finish(self, job: Job) -> None:
        """End the request, and log it or tell the entry what to log."""
        request = job.request
        row = job.row
        if self.request_log is None:
            record = json.dumps(row)
            exchange.send(job.reply, last=True, request_id=request.request_id, record=record)
            return
        if row["status"] != Status.OK:
            exchange.fail(job.reply, row["status"], row["error"], request.request_id)
        self.request_log.add(request, row, job.start)

    def _answer(self, job: Job) -> None:
        """Fill the row step by step and send the answer. Raises RequestError."""
        row = job.row
        with Timer(row, "guard"):
            self._guard(job)
        with Timer(row, "embed"):
            vector = self._encode([job.request.question])[0]
        self._look_for_orders(job, vector)
        with Timer(row, "search"):
            passages = self._search(job.request, vector)
        row["retrieved"] = [_select(passage, RETRIEVED_FIELDS) for passage in passages]
        with Timer(row, "generate"):
            reading = self._read_on(job, passages)
        answer = reading.answer
        last_piece = answer.pop("piece")
        row["guard_flags"] = [*row["guard_flags"], *reading.flags]
        self._look_for_leaks(job, answer)
        if self._is_held(job):
            last_piece = answer["answer"]
        is_refusal = self._is_refusal(answer["answer"])
        row |= {**answer, "status": Status.OK, "refused": is_refusal}
        row["total_ms"] = milliseconds_since(job.start)
        self._send_answer(job, last_piece, reading.passages)
        if not is_refusal:
            texts = _shown_texts(reading.passages)
            row["groundedness"] = self.groundedness.measure(row["answer"], texts)

    def _read_on(self, job: Job, passages: Passages) -> Reading:
        """Read the best passages; as long as they do not answer, the next, as `evaluate` does."""
        size = self.settings["num_passages"]
        reading = self._read_once(job, passages[:size])
        for number in range(1, self.settings["max_readings"]):
            later_passages = passages[number * size : (number + 1) * size]
            text = reading.answer["answer"]
            if not later_passages or not withholding.finds_nothing(text, self.limits):
                break
            reading = self._take(reading, self._read_once(job, later_passages))
        return reading

    def _take(self, earlier: Reading, later: Reading) -> Reading:
        """The later reading if it answers, with the tokens of both."""
        counts: dict[str, int] = {}
        for name in ("num_prompt_tokens", "num_new_tokens"):
            counts[name] = earlier.answer[name] + later.answer[name]
        is_in_vain = withholding.finds_nothing(later.answer["answer"], self.limits)
        reading = earlier if is_in_vain else later
        return Reading({**reading.answer, **counts}, reading.passages, reading.flags)

    def _read_once(self, job: Job, passages: Passages) -> Reading:
        """The answer from these passages, or the refusal if they do not support it."""
        texts = _shown_texts(passages)
        answer = self._read(job, texts)
        log_probability = answer.pop("mean_log_probability")
        if self.limits is None or self._is_refusal(answer["answer"]):
            return Reading(answer, passages, [])
        reason = withholding.reason(answer["answer"], log_probability, texts, self.limits)
        if reason is None:
            return Reading(answer, passages, [])
        return Reading({**answer, "answer": self.limits.refusal}, passages, [reason.value])

    def _is_refusal(self, text: str) -> bool:
        return comparison.normalize(text) in self.refusals

    def _look_for_leaks(self, job: Job, answer: dict[str, Any]) -> None:
        """Flag an answer with a secret or the prompt; put the refusal in its place, if told to."""
        action = job.request.guards.secret_answer
        if action is Action.OFF:
            return
        flags = leaks.flags(answer["answer"], self.prompt_phrases)
        job.row["guard_flags"] = [*job.row["guard_flags"], *flags]
        if flags and action is Action.BLOCK:
            answer["answer"] = next(iter(self.settings["refusals"]), WITHHELD)

    def _is_held(self, job: Job) -> bool:
        """Whether nothing may leave before the answer is whole."""
        return self.limits is not None or job.request.guards.secret_answer is Action.BLOCK

    def _guard(self, job: Job) -> None:
        """Flag what is remarkable. Raises RequestError if the request breaks a limit."""
        request = job.request
        max_characters = self.settings["max_question_characters"]
        max_new_tokens = self.settings["max_new_tokens"]
        job.row["guard_flags"] = [*guard.flags(job.row["question"]), *request.guards.flags]
        problem = request.problem or guard.problem(request.question, max_characters)
        if problem is None and request.max_new_tokens > max_new_tokens:
            problem = f"max_new_tokens is {request.max_new_tokens}; the limit is {max_new_tokens}"
        if problem:
            raise RequestError(Status.REJECTED, problem)
        if request.guards.problem:
            raise RequestError(Status.BLOCKED, request.guards.problem)

    def _look_for_orders(self, job: Job, vector: Any) -> None:
        """Flag a question that tries to give the assistant other orders.

        Raises RequestError if such questions are blocked.
        """
        action = job.request.guards.injection
        if action is Action.OFF:
            return
        if injection.is_attack(self.injection, job.request.question, vector):
            job.row["guard_flags"] = [*job.row["guard_flags"], injection.FLAG]
            if action is Action.BLOCK:
                raise RequestError(Status.BLOCKED, "the question gives the assistant orders")

    def _search(self, request: UserRequest, vector: Any) -> Passages:
        """The best passages, as vectorstore/retrieval.py finds them for evaluation."""
        limit = self.settings["top_k"]
        weight = self.settings["rerank_weight"]
        num_candidates = late_interaction.num_candidates(limit, weight)
        alpha = self.settings["hybrid_alpha"]
        query = Query(request.question, vector.tolist(), alpha, request.groups)
        try:
            passages = self.index.search(query, num_candidates)
        except passage_search.SearchError as error:
            raise RequestError(Status.FAILED, str(error)) from error
        if weight > 0:
            passages = self._reorder(request.question, passages, weight)
        return passages[:limit]

    def _reorder(self, question: str, passages: Passages, weight: float) -> Passages:
        best = passages[: late_interaction.NUM_REORDERED]
        texts = [late_interaction.passage_text(hit["headings"], hit["text"]) for hit in best]
        scores = [float(value) for value in self._embed(texts, "score", question).reshape(-1)]
        positions = late_interaction.order(scores, weight)
        return [*[best[position] for position in positions], *passages[len(best) :]]

    def _read(self, job: Job, texts: list[str]) -> dict[str, Any]:
        """The answer from as many of the best passages as fit, as `evaluate` shows them."""
        for count in range(len(texts), 0, -1):
            try:
                return self._generate(job, self._render(job.request.question, texts[:count]))
            except RequestError as error:
                if error.status is not Status.REJECTED:
                    raise
        return self._generate(job, self._render(job.request.question, []))

    def _render(self, question: str, texts: list[str]) -> str:
        """What is sent to the generator."""
        control_tokens = self.settings["control_tokens"]
        question = rendering.disarm(question, control_tokens)
        texts = [rendering.disarm(text, control_tokens) for text in texts]
        form = self.settings["prompt"]
        return rendering.pack(rendering.render(form, self.settings["passage"], question, texts))

    def _generate(self, job: Job, prompt: str) -> dict[str, Any]:
        """The answer with its counts; `piece` is what has not been streamed yet."""
        request = job.request
        backend = self.settings["backend"]
        limit = request.max_new_tokens or self.settings["max_new_tokens"]
        task = Task(prompt, limit, request.stream, job.deadline)
        inputs = engines.request(backend, task, self.settings["lora"])
        seconds = job.deadline - time.time() + GRACE_SECONDS
        call = self.server.stream(f"generator{self.suffix}", self.version, inputs, seconds)
        reading = engines.Reading(backend)
        try:
            with self.cancellation.watch(job.reply, call):
                for response in call:
                    self._send_piece(job, reading.add(arrays.values(response)))
        except peer.PeerError as error:
            raise RequestError(engines.status_of(backend, error), str(error)) from error
        if not reading.final():
            raise RequestError(Status.FAILED, "the generator ended without an answer")
        return reading.final()

    def _send_piece(self, job: Job, piece: str) -> None:
        if piece and job.request.stream and not self._is_held(job):
            exchange.send(
                job.reply,
                last=False,
                piece=piece,
                request_id=job.request.request_id,
                release_id=job.row["release_id"],
            )

    def _send_answer(self, job: Job, last_piece: str, passages: Passages) -> None:
        """The whole answer with its citations: the passages that evaluate counts as cited.

        `start` and `end` are characters in the document; `pages` is null if it has none.
        """
        citations = [_select(passage, CITATION_FIELDS) for passage in passages]
        row = job.row
        exchange.send(
            job.reply,
            last=self.request_log is not None,
            piece=last_piece,
            answer=row["answer"],
            request_id=job.request.request_id,
            release_id=row["release_id"],
            refused=row["refused"],
            citations=json.dumps(citations),
            guard_flags=json.dumps(row["guard_flags"]),
            num_prompt_tokens=row["num_prompt_tokens"],
            num_new_tokens=row["num_new_tokens"],
            final=True,
        )

    def _encode(self, texts: list[str]) -> Any:
        """Unit vectors of texts."""
        return self._embed(texts, "vector")

    def _embed(self, texts: list[str], output: str, question: str | None = None) -> Any:
        """An output of this release's embedder, a row for each text, a few texts at a time."""
        parts = []
        size = min(TEXTS_AT_ONCE, self.settings["max_texts"])
        for start in range(0, len(texts), size):
            group = texts[start : start + size]
            inputs = {"text": np.stack([arrays.text(text) for text in group])}
            if question is not None:
                inputs["question"] = np.stack([arrays.text(question)] * len(group))
            parts.append(self._ask_embedder(inputs)[output])
        return np.concatenate(parts)

    def _ask_embedder(self, inputs: dict[str, Any]) -> dict[str, Any]:
        model = f"embedder{self.suffix}"
        seconds = self.settings["timeout_seconds"]
        try:
            return self.server.infer(model, self.version, inputs, seconds)
        except peer.PeerError as error:
            raise RequestError(Status.FAILED, str(error)) from error


def _shown_texts(passages: Passages) -> list[str]:
    return [rendering.shown_text(hit["title"], hit["text"]) for hit in passages]


def _select(passage: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    return {field: passage[field] for field in fields}


def _open_request_log() -> "RequestLog":
    # Imported here because a release behind the entry writes no log and needs no pyarrow.
    from .traffic_log import RequestLog

    prices = json.loads(os.environ.get("ASSISTANT_PRICES", "{}"))
    return RequestLog(os.environ.get("ASSISTANT_TRAFFIC", ""), prices)
