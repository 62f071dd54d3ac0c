"""The public keys of the token issuer: found by OpenID discovery, kept for a while, fetched again.

Only the configured issuer and the address that it names for its keys are ever asked: no address in
a token is looked at. A fetch has an end in time and size and follows no redirect. Tokens that name
an unknown key lead to one fetch in UNKNOWN_SECONDS, however many there are, and a failed fetch is
not repeated within RETRY_SECONDS.
"""

import asyncio
import json
import time
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet, OctKey, RSAKey

from pipelines.config.token_issuer import TokenIssuer, is_loopback, url_problem
from pipelines.gateway.api_errors import Unavailable

DISCOVERY = "/.well-known/openid-configuration"
FETCH_SECONDS = 10.0  # for both documents
MAX_BYTES = 512 * 1024  # of a document; those of large providers have 10 KiB
UNKNOWN_SECONDS = 30.0  # between two fetches because of tokens that name an unknown key
RETRY_SECONDS = 10.0  # between two fetches of which the first failed
MIN_RSA_BITS = 2048
NEVER = float("-inf")


class IssuerKeys:
    """The keys of one issuer."""

    def __init__(self, config: TokenIssuer):
        self._config = config
        self._tls = httpx.create_ssl_context()
        self._lock = asyncio.Lock()
        self._keys: list[Key] = []
        self._keys_time = NEVER  # when these keys were fetched
        self._try_time = NEVER  # when they were last asked for
        self._problem: str | None = None  # of the last try

    async def find(self, key_id: str) -> KeySet | None:
        """The keys of this id; None if the issuer has none. Raises Unavailable if it is not known.

        While the issuer cannot be asked, the keys that it gave serve until their time is over.
        """
        if not self._knows(key_id):
            async with self._lock:  # one fetch at a time; who waited for it looks at its result
                if not self._knows(key_id):
                    await self._ask_again()
        keys = [key for key in self._keys if key.kid == key_id]
        return KeySet(keys) if keys else None

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._keys_time < self._config.keys_seconds

    def _knows(self, key_id: str) -> bool:
        return self._is_fresh() and any(key.kid == key_id for key in self._keys)

    async def _ask_again(self) -> None:
        """Fetch the keys, unless that was just done. Raises Unavailable."""
        pause = UNKNOWN_SECONDS if self._problem is None else RETRY_SECONDS
        # Keys are kept longer than the pause, so those that are too old are always fetched here.
        if time.monotonic() - self._try_time >= pause:
            await self._fetch()
        if self._problem is not None:
            raise Unavailable(
                f"tokens cannot be checked, since the keys of {self._config.issuer} cannot be "
                f"fetched: {self._problem}",
                code="issuer_unavailable",
                headers={"Retry-After": str(round(RETRY_SECONDS))},
            )

    async def _fetch(self) -> None:
        """Keep the issuer's keys, or else the reason why there are none."""
        self._try_time = time.monotonic()
        self._problem = "the last fetch was interrupted"
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                keys = await self._download()
        except TimeoutError:
            self._problem = f"no answer within {FETCH_SECONDS:g} s"
            self._log(self._problem)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            self._problem = f"it was not reached ({type(error).__name__})"
            self._log(f"{self._problem}: {error}")  # the rest is not for everybody's eyes
        except UnfitDocument as error:
            self._problem = str(error)
            self._log(self._problem)
        else:
            self._keys = keys
            self._keys_time = time.monotonic()
            self._problem = None

    def _log(self, problem: str) -> None:
        print(f"token issuer {self._config.issuer}: {problem}", flush=True)

    async def _download(self) -> list[Key]:
        """Raises UnfitDocument, or an error of httpx."""
        issuer = self._config.issuer
        is_local = is_loopback(urlsplit(issuer).hostname or "")
        # A proxy that the environment names is for other machines.
        async with httpx.AsyncClient(verify=self._tls, trust_env=not is_local) as client:
            address = issuer.rstrip("/") + DISCOVERY
            document = await _read_object(client, address)
            if document.get("issuer") != issuer:
                raise UnfitDocument(f"{address} is of the issuer {document.get('issuer')!r}")
            keys_address = document.get("jwks_uri")
            if not isinstance(keys_address, str) or url_problem(keys_address) is not None:
                raise UnfitDocument(f"{address} names no https address as `jwks_uri`")
            if is_loopback(urlsplit(keys_address).hostname or "") and not is_local:
                raise UnfitDocument(f"{address} names an address of this machine as `jwks_uri`")
            return _usable_keys(await _read_object(client, keys_address))


class UnfitDocument(Exception):
    """What the issuer sent cannot be used."""


async def _read_object(client: httpx.AsyncClient, address: str) -> dict[str, Any]:
    """A JSON object. Raises UnfitDocument."""
    content = b""
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    async with client.stream("GET", address, headers=headers) as response:
        if response.status_code != HTTPStatus.OK:
            raise UnfitDocument(f"{address} answered with status {response.status_code}")
        async for part in response.aiter_raw():  # as sent: nothing is unpacked
            content += part
            if len(content) > MAX_BYTES:
                raise UnfitDocument(f"{address} sent more than {MAX_BYTES} bytes")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UnfitDocument(f"{address} sent no JSON") from error
    if not isinstance(document, dict):
        raise UnfitDocument(f"{address} sent no JSON object")
    return document


def _usable_keys(document: dict[str, Any]) -> list[Key]:
    """The public keys by which a signature can be checked. Raises UnfitDocument if none can.

    Keys of kinds that are not known here are left out, as RFC 7517, section 5, says.
    """
    entries = document.get("keys")
    keys: list[Key] = []
    for entry in entries if isinstance(entries, list) else []:
        key = _import_key(entry)
        if key is not None:
            keys.append(key)
    if not keys:
        raise UnfitDocument("it publishes no key that can be used")
    return keys


def _import_key(entry: Any) -> Key | None:
    """None if this is no public key with an id, or a weak one."""
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str):
        return None
    try:
        key = JWKRegistry.import_key(entry)
    except (JoseError, ValueError, TypeError, KeyError):  # as joserfc meets what is broken
        return None
    if isinstance(key, OctKey) or key.is_private:
        return None
    is_weak = isinstance(key, RSAKey) and key.public_key.key_size < MIN_RSA_BITS
    return None if is_weak else key
