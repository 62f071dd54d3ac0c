"""The Triton model `assistant` of one release: guard, embed, search, prompt, generate, cite. Copied into the model repository as model.py.

It asks its own release's `embedder` and `generator` inside the server; where it is loaded as `assistant-<release>`, these carry the same
ending. See exchange.py for inputs and outputs. Requests are worked on side by side, each in a thread, so that the generator sees batches.
As the entry (no ending) it writes the traffic log itself where ASSISTANT_TRAFFIC names a folder.
"""

import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

STEPS = ("guard", "embed", "search", "generate")
GRACE_SECONDS = 2.0  # after its deadline the generator says itself that the time is over
REST = 2.0  # times as long as it took to encode one answer's sentences no other's are, so that questions mostly have the encoder to themselves
SENTENCES_AT_ONCE = 4  # encoded for groundedness in one call: a question that comes meanwhile waits for so few
KNOWN_SENTENCES = 50_000  # vectors of sentences kept for groundedness: 77 MB at 384 dimensions


class Problem(Exception):
    """A request that gets no answer. `status` as in the traffic log."""

    def __init__(self, status: str, message: str):
        super().__init__(message)
        self.status = status


class TritonPythonModel:
    """The class that Triton's Python back end looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read this version's settings and prompt; nothing heavy."""
        here = Path(args["model_repository"]) / args["model_version"]
        sys.path.insert(0, str(here))
        import comparison
        import engines
        import exchange
        import guard
        import peer
        import rendering
        import search

        self.comparison, self.engines, self.exchange, self.guard = comparison, engines, exchange, guard
        self.peer, self.rendering, self.search = peer, rendering, search
        self.settings = json.loads((here / "settings.json").read_text())
        self.ending, self.version = args["model_name"].removeprefix("assistant"), args["model_version"]
        self.server, self.running = peer.Server(), exchange.Running()
        self.refusals = {comparison.normalized(refusal) for refusal in self.settings["refusals"]}
        self.index = search.Index(self.settings["collection"], self.settings["search_timeout_seconds"])
        self.pool = ThreadPoolExecutor(self.settings["max_requests_at_once"])
        self.measuring, self.rests_until = threading.Semaphore(1), 0.0  # one answer's groundedness at a time, and not always: answers go first
        self.known: dict[str, Any] = {}
        self.entry = None
        if not self.ending:
            import trafficlog

            self.entry = trafficlog.Entry(os.environ.get("ASSISTANT_TRAFFIC", ""), json.loads(os.environ.get("ASSISTANT_PRICES", "{}")))

    def execute(self, requests: list[Any]) -> None:
        """Hand each request to a thread."""
        for request in requests:
            self.pool.submit(self._serve, self.exchange.read(request), self.exchange.Reply(request))

    def finalize(self) -> None:
        """Finish what has begun, then close the log."""
        self.pool.shutdown(wait=True)
        if self.entry is not None:
            self.entry.close()

    def _serve(self, asked: Any, reply: Any) -> None:
        """Answer one request; whatever happens, it ends with an answer or an error, and with its row."""
        began = time.time()
        row: dict[str, Any] = {
            "release_id": self.settings["release_id"],
            "question": asked.question[: self.settings["max_question_characters"]],
            "retrieved": [],
            "answer": None,
            "status": "failed",
            "error": None,
            "refused": False,
        }
        row |= {"guard_flags": [], "groundedness": None, "num_prompt_tokens": 0, "num_new_tokens": 0, **{f"{step}_ms": None for step in STEPS}}
        try:
            passages = self._answer(asked, reply, row, began + min(asked.timeout_seconds or 1e9, self.settings["timeout_seconds"]))
            row["total_ms"] = 1000 * (time.time() - began)
            self.exchange.send(
                reply, last=self.entry is not None, piece=row.pop("piece"), answer=row["answer"], request_id=asked.request_id, release_id=row["release_id"], refused=row["refused"],
                citations=json.dumps(self._citations(passages)), num_prompt_tokens=row["num_prompt_tokens"], num_new_tokens=row["num_new_tokens"], final=True,
            )  # fmt: skip
            row["groundedness"] = None if row["refused"] else self._groundedness(row["answer"], passages)
        except Problem as problem:
            row |= {"status": problem.status, "error": str(problem)}
        except Exception as error:  # nothing may leave a request without its end
            row |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        row.setdefault("total_ms", 1000 * (time.time() - began))
        self._end(asked, reply, row, began)

    def _end(self, asked: Any, reply: Any, row: dict[str, Any], began: float) -> None:
        if self.entry is None:
            self.exchange.send(reply, last=True, request_id=asked.request_id, record=json.dumps(row))
            return
        if row["status"] != "ok":
            self.exchange.fail(reply, row["status"], row["error"], asked.request_id)
        self.entry.log(asked, row, began)

    def _answer(self, asked: Any, reply: Any, row: dict[str, Any], deadline: float) -> list[dict[str, Any]]:
        """Fill the row step by step; returns the passages. Raises Problem."""
        with _Step(row, "guard"):
            row["guard_flags"] = self.guard.flags(asked.question[: self.settings["max_question_characters"]])
            problem = asked.problem or self.guard.problem(asked.question, self.settings["max_question_characters"])
            if problem is None and asked.max_new_tokens > self.settings["max_new_tokens"]:
                problem = f"max_new_tokens is {asked.max_new_tokens}; the limit is {self.settings['max_new_tokens']}"
            if problem:
                raise Problem("rejected", problem)
        with _Step(row, "embed"):
            vector = self._vectors([asked.question])[0]
        with _Step(row, "search"):
            try:
                passages: list[dict[str, Any]] = self.index.passages(asked.question, vector.tolist(), self.settings["hybrid_alpha"], self.settings["top_k"])
            except self.search.SearchError as error:
                raise Problem("failed", str(error)) from error
            row["retrieved"] = [{name: passage[name] for name in ("chunk_id", "uri", "score")} for passage in passages]
        shown = [passage["text"] for passage in passages[: self.settings["num_passages"]]]
        prompt = self.rendering.render(self.settings["prompt"], self.settings["passage"], asked.question, shown)
        with _Step(row, "generate"):
            self._generate(asked, reply, row, prompt, deadline)
        row |= {"status": "ok", "refused": self.comparison.normalized(row["answer"]) in self.refusals}
        return passages

    def _generate(self, asked: Any, reply: Any, row: dict[str, Any], prompt: str, deadline: float) -> None:
        limit = asked.max_new_tokens or self.settings["max_new_tokens"]
        inputs = self.engines.request(self.settings["backend"], prompt, limit, asked.stream, deadline, self.settings["lora"])
        reading = self.engines.Reading(self.settings["backend"])
        call = self.server.stream(f"generator{self.ending}", self.version, inputs, deadline - time.time() + GRACE_SECONDS)
        self.running.begin(reply, call)
        try:
            for arrays in call:
                piece = reading.add(self.exchange.plain(arrays))
                if piece and asked.stream:
                    self.exchange.send(reply, last=False, piece=piece, request_id=asked.request_id, release_id=row["release_id"])
        except self.peer.PeerError as error:
            message = str(error)
            raise Problem("cancelled" if "was cancelled" in message else "rejected" if any(words in message for words in self.engines.TOO_LONG) else "failed", message) from error
        finally:
            self.running.end(reply)
        if not reading.final():
            raise Problem("failed", "the generator ended without an answer")
        row |= reading.final()

    def _vectors(self, texts: list[str]) -> Any:
        """Unit vectors of texts by this release's embedder, a few at a time."""
        found, few = [], min(SENTENCES_AT_ONCE, self.settings["max_texts"])
        for start in range(0, len(texts), few):
            rows = np.array([[one.encode("utf-8")] for one in texts[start : start + few]], dtype=np.object_)
            try:
                found.append(self.server.infer(f"embedder{self.ending}", self.version, {"text": rows}, self.settings["timeout_seconds"])["vector"])
            except self.peer.PeerError as error:
                raise Problem("failed", str(error)) from error
        return np.concatenate(found)

    def _citations(self, passages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Document, headings, pages (null where the document has none) and character span of each passage that evaluate counts as cited."""
        return [{name: passage[name] for name in ("chunk_id", "uri", "headings", "pages", "start", "end", "score")} for passage in passages[: self.settings["num_passages"]]]

    def _groundedness(self, answer: str, passages: list[dict[str, Any]]) -> float | None:
        """As evaluate's: share of the answer's sentences near a sentence of a cited passage. None where the encoder must rest."""
        claims = self.comparison.sentences(answer)
        known = [part for passage in passages[: self.settings["num_passages"]] for part in self.comparison.sentences(passage["text"])]
        if not known or time.monotonic() < self.rests_until or not self.measuring.acquire(blocking=False):
            return None
        began = time.monotonic()
        try:
            missing = sorted({*claims, *known} - set(self.known))
            if len(self.known) + len(missing) > KNOWN_SENTENCES:
                self.known.clear()
                missing = sorted({*claims, *known})
            self.known.update(zip(missing, self._vectors(missing), strict=True) if missing else ())
            similarity = np.stack([self.known[part] for part in claims]) @ np.stack([self.known[part] for part in known]).T
            return float((similarity.max(axis=1) >= self.settings["grounded_similarity"]).mean())
        finally:
            self.rests_until = time.monotonic() + REST * (time.monotonic() - began)
            self.measuring.release()


class _Step:
    """Milliseconds of a step into the row, also where it fails."""

    def __init__(self, row: dict[str, Any], name: str):
        self._row, self._name = row, name

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._row[f"{self._name}_ms"] = 1000 * (time.perf_counter() - self._began)
