"""What the text behind `Authorization: Bearer` is worth: a key, or a token of the issuer."""

import asyncio

from sqlalchemy import Engine

from pipelines.config.token_issuer import TokenIssuer
from pipelines.gateway import keys, token_owners
from pipelines.gateway.api_errors import WrongKey
from pipelines.gateway.keys import Key
from pipelines.gateway.tokens import TokenReader

NO_KEY = (
    "no valid key: send the header `Authorization: Bearer ak-...` "
    "(`python -m pipelines keys create` makes one)"
)


class Credentials:
    """Looks at keys, and at tokens if `gateway.oidc` names an issuer."""

    def __init__(self, engine: Engine, issuer: TokenIssuer | None):
        self._engine = engine
        self._hint = "" if issuer is None else f", or a token of {issuer.issuer}"
        self._tokens = None if issuer is None else TokenReader(issuer)

    async def check(self, text: str) -> Key:
        """Who sends this. Raises WrongKey, or Forbidden if a token's claims do not suffice.

        Raises Unavailable if a token cannot be checked now; keys can always.
        """
        if self._tokens is not None and text and not text.startswith(keys.PREFIX):
            token = await self._tokens.read(text)
            return await asyncio.to_thread(token_owners.admit, self._engine, token)
        key = await asyncio.to_thread(keys.authenticate, self._engine, text)
        if key is None:
            challenge = {"WWW-Authenticate": "Bearer"}
            raise WrongKey(NO_KEY + self._hint, code="invalid_api_key", headers=challenge)
        return key
