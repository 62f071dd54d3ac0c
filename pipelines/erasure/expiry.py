"""Expiry: removes what is older or larger than `retention` of params.yaml allows."""

import datetime

from pipelines.config.retention import RetentionConfig
from pipelines.erasure import traffic
from pipelines.monitoring import cycle
from pipelines.system import cache, locks, paths

MEGABYTE = 1_000_000


def remove_expired(config: RetentionConfig, now: datetime.datetime) -> dict[str, int]:
    """Remove it; returns how many rows or results went, by what people call their place.

    Raises UserError if a file of the log cannot be read: its age is not known then.
    """
    counts: dict[str, int] = {}
    if config.traffic_days is not None:
        limit = now - datetime.timedelta(days=config.traffic_days)
        with locks.exclusive(paths.state_folder() / cycle.LOCK):
            for finding in traffic.find_older(limit):
                if finding.remove is not None:
                    finding.remove()
                counts[finding.location] = counts.get(finding.location, 0) + finding.count
    if config.cache_megabytes is not None:
        counts |= _empty_large_caches(config.cache_megabytes * MEGABYTE)
    return counts


def _empty_large_caches(limit: int) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in cache.FILES:
        path = paths.state_folder() / name
        if path.exists() and path.stat().st_size > limit:
            counts[f"cache .state/{name}"] = cache.count(path)
            cache.clear(path)
    return counts
