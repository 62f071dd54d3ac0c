"""Answers that are kept in memory, and given again to the same question.

An answer is given again only by the release that the asker is on, from the knowledge that this
release reads now, with the same settings, to askers of the same groups, and to its own tenant
(unless `gateway.cache.shared_between_tenants`). What is kept is what the assistant said, before the
guards of this process: they look at it again, under the settings of whoever asks.
"""

import asyncio
import json
import unicodedata
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from cachetools import TTLCache

from pipelines.config.gateway import Cache
from pipelines.errors import UserError
from pipelines.gateway.metrics import Metrics
from pipelines.runtime import guard_actions, routing
from pipelines.serving import client, live_routes, live_server
from pipelines.serving.client import Answer, Question
from pipelines.vectorstore import AliasReader


class Source(NamedTuple):
    """What an answer comes from: a release, and the content of the collection that it reads."""

    release_id: str
    knowledge: str


class CacheKey(NamedTuple):
    source: Source
    digest: str  # of the question and its settings


@dataclass(frozen=True)
class Lookup:
    """A question that was looked up, and its answer if that is kept.

    No key: an answer to it cannot be kept. No result: no answers are kept at all.
    """

    result: str | None = None  # hit, miss or bypass
    key: CacheKey | None = None
    answer: Answer | None = None

    def headers(self) -> dict[str, str]:
        return {} if self.result is None else {"x-cache": self.result}


class AnswerCache:
    """The kept answers of one gateway, the least recently used of which goes first."""

    def __init__(self, config: Cache, metrics: Metrics):
        if config.entries and client.is_external():
            raise UserError(
                f"params.yaml: gateway.cache.entries is {config.entries}, but ASSISTANT_URL names "
                "an assistant whose releases and knowledge are not known here, so no answer can "
                "be kept: set it to 0"
            )
        self._config = config
        self._metrics = metrics
        self._answers: TTLCache[CacheKey, Answer] = TTLCache(
            max(config.entries, 1), config.ttl_seconds
        )
        self._aliases = AliasReader()
        self._releases: frozenset[str] = frozenset()  # that were live at the last lookup
        self._knowledge: dict[str, str] = {}  # of each of them that was looked up

    async def find(self, question: Question) -> Lookup:
        """Look a question up; forgets what comes from elsewhere than the live releases now do."""
        if not self._config.entries:
            return Lookup()
        source = await self._read_source(question)
        if source is None:
            self._metrics.count_lookup("bypass")
            return Lookup("bypass")
        key = CacheKey(source, self._digest(question))
        answer = self._answers.get(key)
        result = "miss" if answer is None else "hit"
        self._metrics.count_lookup(result)
        return Lookup(result, key, answer)

    async def keep(self, question: Question, lookup: Lookup, answer: Answer) -> None:
        """Keep a whole answer, unless release or knowledge have changed since the lookup."""
        if lookup.key is None or answer.release_id != lookup.key.source.release_id:
            return
        if await self._read_source(question) == lookup.key.source:
            self._answers[lookup.key] = answer
            self._metrics.set_kept_answers(len(self._answers))

    def close(self) -> None:
        self._aliases.close()

    async def _read_source(self, question: Question) -> Source | None:
        """Where an answer would come from now; None, and the reason in the log, if unknown."""
        assert question.position is not None
        try:
            source, releases = await asyncio.to_thread(self._locate, question.position)
        except (UserError, OSError, ValueError) as error:
            print(f"response cache: passed by: {error}", flush=True)
            return None
        self._forget_outdated(source, releases)
        return source

    def _locate(self, position: float) -> tuple[Source, frozenset[str]]:
        """What answers at a position, and every release that is live."""
        shares = live_routes.read().shares
        if not shares:
            raise UserError("no release is live here")
        release_id = routing.pick(shares, position)
        alias = live_server.alias(release_id)
        knowledge = self._aliases.read_content(alias)
        if knowledge is None:
            raise UserError(f"Weaviate has no alias {alias}")
        return Source(release_id, knowledge), frozenset(release for release, _ in shares)

    def _forget_outdated(self, source: Source, releases: frozenset[str]) -> None:
        """Drop answers of releases that are not live, and from what a release no longer reads."""
        is_known = self._knowledge.get(source.release_id) == source.knowledge
        if is_known and releases == self._releases:
            return
        self._releases = releases
        self._knowledge[source.release_id] = source.knowledge
        for release_id in self._knowledge.keys() - releases:
            del self._knowledge[release_id]
        for key in list(self._answers):
            if self._knowledge.get(key.source.release_id) != key.source.knowledge:
                self._answers.pop(key, None)
        self._metrics.set_kept_answers(len(self._answers))

    def _digest(self, question: Question) -> str:
        tenant = None if self._config.shared_between_tenants else question.tenant
        actions = guard_actions.write(question.guards)
        text = normalize(question.text)
        settings = [text, question.max_new_tokens, actions, tenant, question.groups]
        return sha256(json.dumps(settings).encode()).hexdigest()


def normalize(text: str) -> str:
    """A question without surplus space, in composed characters.

    Upper and lower case stay: the model tells them apart.
    """
    return " ".join(unicodedata.normalize("NFC", text).split())
