"""The questions of a shadow: the last of the traffic log, then a share of those that come."""

import random
import time
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.config.shadow import ShadowConfig
from pipelines.runtime.comparison import normalize
from pipelines.serving import recent_traffic
from pipelines.serving.live_comparison import WORKED_ON
from pipelines.serving.live_server import MAX_LOGGED_CHARACTERS

Row = dict[str, Any]  # of the traffic log


class LoggedQuestion(NamedTuple):
    """What was asked, and by which tenant."""

    text: str
    tenant: str


class ShadowQuestions:
    """Different questions, each once: one that is asked often says one thing about a release."""

    def __init__(self, config: ShadowConfig, traffic: Path, dice: random.Random):
        self._config = config
        self._traffic = traffic
        self._dice = dice
        self._start = time.time()
        self._texts: set[str] = set()  # as compared, of all questions so far
        self._seen: set[str] = set()  # ids of requests that came since the start
        self._waiting: list[LoggedQuestion] = []
        for row in recent_traffic.newest_first(traffic):
            if len(self._waiting) >= config.replay:
                break
            if self._is_new(row):
                self._waiting.append(LoggedQuestion(row["question"], row["tenant"]))
        # In their order, a topic of the last hour would decide alone.
        dice.shuffle(self._waiting)

    def take(self) -> LoggedQuestion | None:
        """The next question to ask; None if there is none at present."""
        return self._waiting.pop() if self._waiting else None

    def put_back(self, question: LoggedQuestion) -> None:
        """It could not be asked of both; its turn comes again, after the others."""
        self._waiting.insert(0, question)

    def follow(self) -> None:
        """Take in a share of what users have asked since the start and have the answer to."""
        for row in recent_traffic.requests(self._traffic, self._start):
            if row["request_id"] in self._seen:
                continue
            self._seen.add(row["request_id"])
            if self._dice.random() < self._config.share and self._is_new(row):
                self._waiting.insert(0, LoggedQuestion(row["question"], row["tenant"]))

    def _is_new(self, row: Row) -> bool:
        """Whether a row holds a whole question that was not taken before."""
        text = normalize(row["question"])
        is_usable = row["status"] in WORKED_ON and len(row["question"]) < MAX_LOGGED_CHARACTERS
        if not text or not is_usable or text in self._texts:
            return False
        self._texts.add(text)
        return True
