"""Which part of the traffic an asker belongs to: a number that no client can choose or foresee.

While a new release takes over, it answers the askers at the upper end of the positions from 0 to 1
(runtime/routing.py). An asker is the `user` that a program names, or else a conversation, within
one key of one tenant; it stays on one release while the shares stay the same.
"""

import hmac
from dataclasses import dataclass

from pipelines.gateway.keys import Key

SECRET = "placement"  # noqa: S105 (its name in the database)


@dataclass(frozen=True)
class Asker:
    """Who asks. `digest` names them in the database, where their name need not stand."""

    digest: str
    position: float


def asker_of(secret: bytes, key: Key, name: str | None, first_message: str) -> Asker:
    """The asker of a request: by the name that the program gives them, or by the conversation."""
    who = ("user", name) if name else ("conversation", first_message)
    # Lengths, so that no two different lists of parts read the same.
    parts = [f"{len(part)}:{part}" for part in (key.tenant, key.id, *who)]
    digest = hmac.digest(secret, "\n".join(parts).encode(), "sha256")
    return Asker(digest.hex(), int.from_bytes(digest[:6]) / 2**48)
