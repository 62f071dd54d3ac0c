"""Requests and tokens a minute, requests at once, and wrong keys: more gets status 429.

Counts are kept in this process, or in the Redis that GATEWAY_LIMITS_URL names (redis://...), which
several gateways share. Requests at once are counted in each gateway.
"""

import math
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from pipelines.config.gateway import Allowance, Limits
from pipelines.errors import UserError
from pipelines.gateway.api_errors import TooMany
from pipelines.gateway.keys import Key

VARIABLE = "GATEWAY_LIMITS_URL"
NAMESPACE = "gateway"
RETRY_SECONDS = 1  # after which a request under way may have ended


class RequestLimits:
    """What each key, tenant and address has used in the last minute."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._window = SlidingWindowCounterRateLimiter(_open_storage())
        self._under_way: Counter[str] = Counter()

    async def count_failure(self, address: str) -> None:
        """Count a wrong key or token. Raises TooMany if too many came from its address."""
        most = self._limits.failed_keys_per_minute
        limit = RateLimitItemPerMinute(most, namespace=NAMESPACE)
        if not await self._window.hit(limit, "address", address):
            what = "wrong keys or tokens a minute"
            names = ("address", address)
            raise await self._error(limit, names, "failed_keys_per_minute", what)

    async def count(self, key: Key, num_tokens: int) -> None:
        """Count a request and its tokens. Raises TooMany; a refused request counts too."""
        for kind, name, allowance in self._owners(key):
            await self._hit(kind, name, allowance.requests_per_minute, "requests")
            await self._hit(kind, name, allowance.tokens_per_minute, "tokens", num_tokens)

    async def count_more_tokens(self, key: Key, num_tokens: int) -> None:
        """Count tokens that the estimate before the work did not hold."""
        for kind, name, allowance in self._owners(key):
            if allowance.tokens_per_minute is not None and num_tokens > 0:
                limit = RateLimitItemPerMinute(allowance.tokens_per_minute, namespace=NAMESPACE)
                cost = min(num_tokens, allowance.tokens_per_minute)
                await self._window.hit(limit, "tokens", kind, name, cost=cost)

    @contextmanager
    def under_way(self, key: Key) -> Iterator[None]:
        """Count a request that is worked on until the block ends. Raises TooMany."""
        owners = self._owners(key)
        for kind, name, allowance in owners:
            most = allowance.concurrent_requests
            if most is not None and self._under_way[f"{kind} {name}"] >= most:
                raise TooMany(
                    f"this {kind} has {most} requests under way, which is its limit "
                    f"(gateway.limits.{kind}.concurrent_requests)",
                    code=f"{kind}.concurrent_requests",
                    headers={"Retry-After": str(RETRY_SECONDS)},
                )
        names = [f"{kind} {name}" for kind, name, _ in owners]
        self._under_way.update(names)
        try:
            yield
        finally:
            self._under_way.subtract(names)
            self._under_way += Counter()  # forget those that have none under way

    def num_under_way(self) -> int:
        """Requests that are worked on in this gateway."""
        counts = [count for name, count in self._under_way.items() if name.startswith("key ")]
        return sum(counts)

    def _owners(self, key: Key) -> list[tuple[str, str, Allowance]]:
        return [("key", key.id, self._limits.key), ("tenant", key.tenant, self._limits.tenant)]

    async def _hit(self, kind: str, name: str, most: int | None, unit: str, cost: int = 1) -> None:
        if most is None or not cost:
            return
        limit = RateLimitItemPerMinute(most, namespace=NAMESPACE)
        # More than a whole minute's allowance can never be taken at once.
        if cost > most or not await self._window.hit(limit, unit, kind, name, cost=cost):
            raise await self._error(
                limit, (unit, kind, name), f"{kind}.{unit}_per_minute", f"{unit} a minute"
            )

    async def _error(
        self, limit: RateLimitItemPerMinute, names: tuple[str, ...], code: str, what: str
    ) -> TooMany:
        reset_time = (await self._window.get_window_stats(limit, *names)).reset_time
        seconds = max(1, math.ceil(reset_time - time.time()))
        return TooMany(
            f"{limit.amount} {what} are allowed (gateway.limits.{code}); try again in {seconds} s",
            code=code,
            headers={"Retry-After": str(seconds)},
        )


def _open_storage() -> MemoryStorage | RedisStorage:
    url = os.environ.get(VARIABLE)
    if not url:
        return MemoryStorage()
    if not url.startswith(("redis://", "rediss://", "redis+unix://")):
        raise UserError(f"{VARIABLE} must be the address of a Redis, such as redis://host:6379")
    return RedisStorage(f"async+{url}", implementation="redispy")
