"""What the parts of the gateway share: its settings, its database, its counts, the assistant."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import Engine

from pipelines.config.export import ExportConfig
from pipelines.config.gateway import GatewayConfig
from pipelines.config.redact import RedactConfig
from pipelines.config.serve import Prices
from pipelines.errors import UserError
from pipelines.gateway import accounts, alert_channels, api_errors, database, placement
from pipelines.gateway.accounts import Accounts, Order, Outcome, Tokens
from pipelines.gateway.alerts import BudgetAlerts
from pipelines.gateway.answer_cache import AnswerCache, Lookup
from pipelines.gateway.batch_store import BatchStore
from pipelines.gateway.file_store import FileStore
from pipelines.gateway.guards import GuardedQuestion, GuardKeeper
from pipelines.gateway.metrics import Metrics
from pipelines.gateway.request_limits import RequestLimits
from pipelines.gateway.settling import Settlement
from pipelines.runtime.status import Status
from pipelines.serving.async_client import Assistant, Piece
from pipelines.serving.client import Answer, AskError
from pipelines.system import paths

RETRY_SECONDS = 1  # after which a place may be free
CHARACTERS_A_TOKEN = 4  # of English, as OpenAI estimates tokens before the work


@dataclass(frozen=True)
class Settings:
    """The sections of params.yaml that the gateway reads.

    `export` bounds what a request may cost.
    """

    gateway: GatewayConfig
    export: ExportConfig
    prices: Prices
    redact: RedactConfig
    max_requests_at_once: int  # of serve
    open_runs: Callable[[], list[str]] = list  # names of the runs under way, for operators


class Gateway:
    """One running gateway."""

    def __init__(self, settings: Settings, engine: Engine):
        self.settings = settings
        self.config = settings.gateway
        self.engine = engine
        self.secret = database.read_secret(engine, placement.SECRET)
        self.accounts = Accounts(engine, self.config.limits)
        self.limits = RequestLimits(self.config.limits)
        self.clone = paths.state_folder().parent
        self.metrics = Metrics(self.limits.num_under_way, self.accounts.balances, self.clone)
        self.guards = GuardKeeper(self.config.guards, settings.redact, engine, self.metrics)
        self.cache = AnswerCache(self.config.cache, self.metrics)
        channels = alert_channels.open_channels(self.config.alerts)
        self.alerts = BudgetAlerts(engine, self.config, self.accounts, channels)
        self.settlement = Settlement(engine, self.config, settings.prices, self.accounts)
        self.assistant = Assistant()
        _check_room(self.config, settings.max_requests_at_once)
        self.files = FileStore(engine, self.config.batches)
        self.batches = BatchStore(engine, self.config.batches)

    def reserve(self, num_new_tokens: int) -> int:
        """The most that an answer of so many tokens can cost; 0: as many as the release allows."""
        most = self.settings.export.max_prompt_tokens
        return accounts.price(self.settings.prices, Tokens(most, self._longest(num_new_tokens)))

    def estimate(self, text: str, num_new_tokens: int) -> int:
        """Tokens of a request, for the limit of tokens a minute."""
        longest = self._longest(num_new_tokens)
        return len(text) // CHARACTERS_A_TOKEN + 1 + longest

    async def ask(
        self, order: Order, guarded_question: GuardedQuestion, lookup: Lookup, *, is_streamed: bool
    ) -> AsyncIterator[Piece | Answer]:
        """Pieces of the answer if it is streamed, then the whole, within limits and budget.

        Raises ApiError. However it ends, the request is booked: an answer and an error at their
        cost, a request whose client left at all that was set aside for it.
        """
        question = guarded_question.question
        estimate = self.estimate(question.text, question.max_new_tokens)
        async with self.admit(order, estimate):
            await asyncio.to_thread(self.accounts.open, order)
            outcome = Outcome(Status.CANCELLED)
            try:
                parts = self._guarded_parts(guarded_question, lookup, is_streamed=is_streamed)
                async with aclosing(parts):
                    async for part in parts:
                        if isinstance(part, Answer):
                            outcome = self._outcome(part)
                        yield part
            except UserError as error:
                if status_of(error) is Status.BLOCKED:
                    await self.guards.record_block(guarded_question)
                nothing = accounts.price(self.settings.prices, Tokens())
                outcome = Outcome(status_of(error), cost=nothing)
                raise api_error(error) from error
            finally:
                await self.book(order, outcome, estimate)

    @asynccontextmanager
    async def admit(self, order: Order, num_tokens: int) -> AsyncGenerator[None, None]:
        """Count a request of so many tokens in the limits until the block ends.

        A line of a batch does not count: it was started when there was room. Raises TooMany.
        """
        if order.is_batched:
            yield
            return
        with self.limits.under_way(order.key):
            await self.limits.count(order.key, num_tokens)
            yield

    async def repeat(
        self, order: Order, guarded_question: GuardedQuestion, original: Answer
    ) -> AsyncIterator[Piece | Answer]:
        """A kept answer, as the guards now let it leave, within the limits; it costs nothing.

        Raises ApiError.
        """
        async with self.admit(order, 0):
            answer = await self.guards.check_answer(guarded_question, original)
            await asyncio.to_thread(
                self.accounts.record_repeat, order, answer.release_id, original.request_id
            )
            if answer.text:
                yield Piece(answer.text, answer.release_id)
            yield answer

    async def _guarded_parts(
        self, guarded_question: GuardedQuestion, lookup: Lookup, *, is_streamed: bool
    ) -> AsyncGenerator[Piece | Answer, None]:
        """What of the assistant's answer may leave."""
        # Each piece takes time here and in Triton, so none is asked for that nobody reads.
        has_pieces = is_streamed and not guarded_question.holds_answer
        parts = self.assistant.stream(guarded_question.question, has_pieces=has_pieces)
        async with aclosing(parts):  # type: ignore[type-var]
            async for part in parts:
                if isinstance(part, Answer):
                    answer = await self.guards.check_answer(guarded_question, part)
                    if guarded_question.holds_answer and answer.text:
                        yield Piece(answer.text, answer.release_id)
                    if not answer.is_blocked:
                        await self.cache.keep(guarded_question.question, lookup, part)
                    yield answer
                else:
                    yield part

    async def book(self, order: Order, outcome: Outcome, estimate: int) -> None:
        """Book a request; the thread that does so ends its work even if this task is cancelled."""
        booking = asyncio.get_running_loop().run_in_executor(
            None, self.accounts.close, order, outcome
        )
        self.metrics.count_tokens(order.key.tenant, outcome.tokens)
        await asyncio.shield(booking)
        if order.is_batched:
            return
        num_tokens = outcome.tokens.prompt + outcome.tokens.new
        await self.limits.count_more_tokens(order.key, num_tokens - estimate)

    def _longest(self, num_new_tokens: int) -> int:
        """Tokens of the longest answer: a release refuses to be asked for more than its limit."""
        most = self.settings.export.max_new_tokens
        return min(num_new_tokens or most, most)

    def _outcome(self, answer: Answer) -> Outcome:
        tokens = Tokens(answer.num_prompt_tokens, answer.num_new_tokens)
        cost = accounts.price(self.settings.prices, tokens)
        return Outcome(Status.OK, answer.release_id, tokens, cost)


def _check_room(config: GatewayConfig, limit: int) -> None:
    """Raises UserError if no line of a batch could ever start."""
    free = config.batches.free_places
    if free >= limit:
        raise UserError(
            f"params.yaml: gateway.batches.free_places is {free}, so that batches would have none "
            f"of the {limit} places of serve.max_requests_at_once: make it smaller"
        )


def status_of(error: UserError) -> Status:
    return error.status if isinstance(error, AskError) else Status.FAILED


def api_error(error: UserError) -> api_errors.ApiError:
    """What a client is told when the assistant did not answer."""
    status = status_of(error)
    if status is Status.REJECTED:
        return api_errors.InvalidRequest(str(error), code="rejected")
    if status is Status.BLOCKED:
        return api_errors.InvalidRequest(str(error), code="content_filter")
    if status is Status.OVERLOADED:
        retry = {"Retry-After": str(RETRY_SECONDS)}
        return api_errors.Overload(str(error), code="overloaded", headers=retry)
    return api_errors.Unavailable(str(error), code="failed")
