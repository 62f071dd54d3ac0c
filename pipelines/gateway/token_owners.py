"""Who uses tokens instead of a key: known by a digest of issuer and subject.

Each has a row among the keys, which holds what their newest token has said: tenant, role, end; and
that token's groups. So limits, costs, batches and revocation work for them as for a key. No key can
be made of the row, since its digest is empty and its id is no key's.
"""

import base64
from hashlib import sha256

from sqlalchemy import Engine, insert, or_, select, update

from pipelines.gateway import database, keys
from pipelines.gateway.api_errors import WrongKey
from pipelines.gateway.database import KEYS, TOKEN_OWNERS
from pipelines.gateway.keys import Key
from pipelines.gateway.tokens import CHALLENGE, Token

PREFIX = "u"  # no hexadecimal digit, of which the ids of keys consist
ID_LENGTH = 16  # of the column: the prefix, and 75 bits in base32


def owner_id(issuer: str, subject: str) -> str:
    """The same for all tokens of this subject, and another for everybody else."""
    # The length, so that no two pairs read the same.
    digest = sha256(f"{len(issuer)}:{issuer}{subject}".encode()).digest()
    return (PREFIX + base64.b32encode(digest).decode().lower())[:ID_LENGTH]


def is_owner(key_id: str) -> bool:
    """Whether an id is that of a token's owner, not of a key."""
    return key_id.startswith(PREFIX)


def admit(engine: Engine, token: Token) -> Key:
    """What a valid token amounts to. Raises WrongKey if its owner is revoked."""
    key_id = owner_id(token.issuer, token.subject)
    with database.reading(engine) as connection:
        row = connection.execute(select(KEYS).where(KEYS.c.id == key_id)).one_or_none()
    if row is not None and row.revoked is not None:
        raise WrongKey(
            f"no valid token: its owner {key_id} was revoked at this gateway",
            code="invalid_token",
            headers=CHALLENGE,
        )
    newest = (token.issue_time, token.end_time)
    if row is None or (row.created, row.expires) < newest:
        _record(engine, key_id, token)
    return Key(key_id, token.tenant, token.role, token.groups)


def _record(engine: Engine, key_id: str, token: Token) -> None:
    """Keep what the newest token says; an older one that comes late changes nothing."""
    owner: dict[str, object] = {"issuer": token.issuer, "subject": token.subject}
    values = {
        "tenant": token.tenant,
        "role": token.role.value,
        "created": token.issue_time,
        "expires": token.end_time,
    }
    is_same_age = (KEYS.c.created == token.issue_time) & (KEYS.c.expires < token.end_time)
    is_older = or_(KEYS.c.created < token.issue_time, is_same_age)
    with engine.begin() as connection:
        if database.insert_if_new(connection, TOKEN_OWNERS, {"id": key_id, **owner}):
            connection.execute(insert(KEYS).values(id=key_id, digest="", **values))
            keys.set_groups(connection, key_id, token.groups)
            return
        is_meant = (KEYS.c.id == key_id) & is_older
        change = connection.execute(update(KEYS).where(is_meant).values(values))
        if change.rowcount:
            keys.set_groups(connection, key_id, token.groups)
