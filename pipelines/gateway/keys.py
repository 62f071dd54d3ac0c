"""Keys: who may use the gateway, for which tenant, in which role and groups, until when.

A key is `ak-ID-SECRET`. It is shown once; the database holds the SHA-256 of its secret, which is
256 random bits and so cannot be guessed from it.
"""

import hmac
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, func, insert, select, update

from pipelines.errors import UserError
from pipelines.gateway import database
from pipelines.gateway.database import KEY_GROUPS, KEYS, TOKEN_OWNERS
from pipelines.runtime.readers import Groups, to_groups

PREFIX = "ak-"
PATTERN = re.compile(PREFIX + r"([0-9a-f]{12})-([A-Za-z0-9_-]{43})")
TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ID_BYTES = 6
SECRET_BYTES = 32
NO_DIGEST = "0" * 64  # compared where there is no such key, so that it takes as long


class Role(StrEnum):
    """What a key may do. Each role may do what those before it may."""

    ASKER = "asker"  # ask, and give feedback on the own tenant's answers
    REVIEWER = "reviewer"
    OPERATOR = "operator"  # read the metrics of all tenants


@dataclass(frozen=True)
class Key:
    """A valid key, as far as the gateway needs it."""

    id: str
    tenant: str
    role: Role
    groups: Groups = ()  # who reads what everyone may, and what these may

    def may(self, role: Role) -> bool:
        """Whether this key may do what keys of that role may."""
        order = list(Role)
        return order.index(self.role) >= order.index(role)


def create(
    engine: Engine,
    tenant: str,
    role: Role,
    expires: float | None = None,
    groups: Groups = (),
) -> str:
    """A new key; it cannot be read again. `expires`: seconds since 1970. Raises UserError."""
    if not TENANT.fullmatch(tenant):
        raise UserError(
            f"--tenant {tenant!r}: a tenant's name begins with a letter or digit and holds at most "
            "64 letters, digits, dots, _ and -"
        )
    if expires is not None and expires <= time.time():
        raise UserError("--expires: this time has passed")
    key_id = secrets.token_hex(ID_BYTES)
    secret = secrets.token_urlsafe(SECRET_BYTES)
    row = {
        "id": key_id,
        "digest": _digest(secret),
        "tenant": tenant,
        "role": role.value,
        "created": time.time(),
        "expires": expires,
    }
    with engine.begin() as connection:
        connection.execute(insert(KEYS).values(row))
        set_groups(connection, key_id, groups)
    return f"{PREFIX}{key_id}-{secret}"


def set_groups(connection: Connection, key_id: str, groups: Groups) -> None:
    """Let a key or an owner of tokens belong to these groups and no others."""
    connection.execute(delete(KEY_GROUPS).where(KEY_GROUPS.c.key_id == key_id))
    for name in groups:
        connection.execute(insert(KEY_GROUPS).values(key_id=key_id, name=name))


def read_groups(engine: Engine, key_id: str) -> Groups:
    """The groups of a key or of an owner of tokens, as they are now."""
    query = select(KEY_GROUPS.c.name).where(KEY_GROUPS.c.key_id == key_id)
    with database.reading(engine) as connection:
        return to_groups(connection.scalars(query))


def count(engine: Engine) -> int:
    """Keys that were ever created, and owners of tokens."""
    with database.reading(engine) as connection:
        return int(connection.scalar(select(func.count()).select_from(KEYS)) or 0)


def read_all(engine: Engine) -> Sequence[Row[Any]]:
    """Every key's columns, oldest first; of a token's owner also `issuer` and `subject`."""
    owner = TOKEN_OWNERS.c
    query = select(KEYS, owner.issuer, owner.subject).outerjoin(TOKEN_OWNERS, owner.id == KEYS.c.id)
    with database.reading(engine) as connection:
        return connection.execute(query.order_by(KEYS.c.created)).all()


def revoke(engine: Engine, key_id: str) -> None:
    """End a key at once, or all tokens of an owner, those to come too.

    Raises UserError if there is none of this id that is not revoked.
    """
    is_meant = (KEYS.c.id == key_id) & KEYS.c.revoked.is_(None)
    with engine.begin() as connection:
        change = connection.execute(update(KEYS).where(is_meant).values(revoked=time.time()))
    if change.rowcount == 0:
        raise UserError(f"there is no valid key {key_id!r}: `keys list` shows their ids")


def restore(engine: Engine, key_id: str) -> None:
    """Admit a token's owner again. Raises UserError if no owner of this id is revoked.

    A key stays revoked: make a new one.
    """
    is_owner = KEYS.c.id.in_(select(TOKEN_OWNERS.c.id))
    is_meant = (KEYS.c.id == key_id) & KEYS.c.revoked.is_not(None) & is_owner
    with engine.begin() as connection:
        change = connection.execute(update(KEYS).where(is_meant).values(revoked=None))
    if change.rowcount == 0:
        raise UserError(
            f"there is no revoked owner of tokens {key_id!r}: `keys list` shows their ids; "
            "a revoked key stays so"
        )


def is_valid(engine: Engine, key_id: str, tenant: str) -> bool:
    """Whether a key may still be used, for this tenant.

    Of a token's owner: whether their newest token has not expired and names this tenant.
    """
    with database.reading(engine) as connection:
        row = connection.execute(select(KEYS).where(KEYS.c.id == key_id)).one_or_none()
    return row is not None and row.tenant == tenant and _is_valid(row)


def authenticate(engine: Engine, text: str) -> Key | None:
    """The key that a client has sent, if it is valid now."""
    match = PATTERN.fullmatch(text)
    if match is None:
        return None
    with database.reading(engine) as connection:
        row = connection.execute(select(KEYS).where(KEYS.c.id == match[1])).one_or_none()
        names = connection.scalars(
            select(KEY_GROUPS.c.name).where(KEY_GROUPS.c.key_id == match[1])
        ).all()
    is_same = hmac.compare_digest(row.digest if row else NO_DIGEST, _digest(match[2]))
    if row is None or not is_same or not _is_valid(row):
        return None
    return Key(row.id, row.tenant, Role(row.role), to_groups(names))


def _is_valid(row: Row[Any]) -> bool:
    has_expired = row.expires is not None and row.expires <= time.time()
    return row.revoked is None and not has_expired


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
