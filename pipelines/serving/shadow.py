"""Asks the live release and a new one the same questions, out of sight, before the canary.

The questions are the last of the traffic log and, if they are too few, a share of those that come
meanwhile. Both releases are asked, also of what the live one has answered already, so that the two
answers come from the same state of the index and of the machine; which is asked first is drawn. One
question is asked at a time, when no user waits, and given up when one comes.
"""

import json
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines import files
from pipelines.config.canary import CanaryConfig
from pipelines.config.shadow import ShadowConfig
from pipelines.serving import canary, live_routes, locations, paired_judgement
from pipelines.serving import release_comparison as comparing
from pipelines.serving.canary import Handover, Outcome
from pipelines.serving.live_comparison import Judgement
from pipelines.serving.paired_comparison import Pair, PairedComparison
from pipelines.serving.release_client import ReleaseClient, Row
from pipelines.serving.shadow_questions import LoggedQuestion, ShadowQuestions

LOOK_SECONDS = 0.5  # while there is nothing to ask
QUIET_SECONDS = 0.2  # without a user before a question is asked


@dataclass(frozen=True)
class Config:
    """What a shadow obeys. `max_seconds`: for one answer."""

    shadow: ShadowConfig
    canary: CanaryConfig
    max_seconds: float


@dataclass(frozen=True)
class Shadow:
    """How a shadow ended. `comparison`: its numbers, with every look at them."""

    outcome: Outcome
    comparison: PairedComparison


def answers_file() -> Path:
    """Both answers to each question of the last shadow, a pair a line."""
    return locations.serving_folder() / Path(paired_judgement.ANSWERS).name


def compare(config: Config, handover: Handover, dice: random.Random) -> Shadow:
    """Ask until harm shows, everything is told, or time and questions are over.

    `dice` draws which questions are asked, and of which release first. Raises UserError if the
    live server does not say whether users wait for it.
    """
    return Session(config, handover, dice).run()


class Session:
    """One shadow under way."""

    def __init__(self, config: Config, handover: Handover, dice: random.Random):
        self._config = config
        self._handover = handover
        self._dice = dice
        self._client = ReleaseClient(handover.triton)
        self._questions = ShadowQuestions(config.shadow, handover.traffic, dice)
        limits = comparing.limits(config.canary, handover.declaration)
        self._comparison = PairedComparison(limits, config.canary.max_asker_share)
        self._shares = live_routes.read().shares
        self._end = time.monotonic() + config.shadow.max_seconds

    def run(self) -> Shadow:
        files.write_secret(answers_file(), "")
        outcome = Outcome(self._judge().report)
        while time.monotonic() < self._end:
            interruption = canary.find_interruption(self._handover, self._shares)
            if interruption is not None:
                return Shadow(Outcome(interruption), self._comparison)
            question = self._questions.take()
            if question is None and self._is_over():
                break
            if question is None:
                time.sleep(LOOK_SECONDS)
                self._questions.follow()
                continue
            # If the server has just ended, the next look says so.
            with suppress(OSError):
                self._ask(question)
            judgement = self._judge()
            outcome = Outcome(judgement.report)
            if not judgement.report.passed or (self._has_enough() and not judgement.gaps):
                break
        if outcome.report.passed:
            outcome = Outcome(outcome.report, self._gaps())
        return Shadow(outcome, self._comparison)

    def _judge(self) -> Judgement:
        config = self._config
        return paired_judgement.judge(self._comparison, config.shadow, config.canary)

    def _has_enough(self) -> bool:
        return self._comparison.num_pairs >= self._config.shadow.min_pairs

    def _is_over(self) -> bool:
        """Whether no further question is worth waiting for."""
        return self._has_enough() or self._config.shadow.share == 0

    def _ask(self, question: LoggedQuestion) -> None:
        """Ask both releases; if users come meanwhile, the question's turn comes again."""
        if not self._wait_for_quiet():
            return
        rows: dict[str, Row] = {}
        releases = [self._handover.old, self._handover.new]
        self._dice.shuffle(releases)
        for release_id in releases:
            row = self._client.ask(release_id, question.text, self._config.max_seconds)
            if row is None:
                self._questions.put_back(question)
                return
            rows[release_id] = row
        old, new = rows[self._handover.old], rows[self._handover.new]
        pair = Pair(question.text, question.tenant, old, new)
        self._comparison.add(pair)
        with answers_file().open("a", encoding="utf-8") as file:
            file.write(json.dumps(pair._asdict()) + "\n")

    def _wait_for_quiet(self) -> bool:
        """Wait until no user has waited for an answer for a while; False if time is over first."""
        quiet_since = time.monotonic()
        while time.monotonic() < self._end:
            if not self._client.is_quiet():
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since >= QUIET_SECONDS:
                return True
            time.sleep(QUIET_SECONDS / 4)
        return False

    def _gaps(self) -> list[str]:
        """Too few pairs, in words for the ledger."""
        config = self._config.shadow
        num_pairs = self._comparison.num_pairs
        if num_pairs >= config.min_pairs:
            return []
        is_late = time.monotonic() >= self._end
        reason = f"within {config.max_seconds:g} s (shadow.max_seconds)"
        if not is_late:
            reason = "as the traffic log holds no more (shadow.replay) and shadow.share is 0"
        return [
            f"shadow: {num_pairs} of {config.min_pairs} pairs (shadow.min_pairs) were compared "
            + reason
        ]
