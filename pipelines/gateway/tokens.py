"""Tokens of the issuer that `gateway.oidc` names: JSON Web Tokens, checked by their signature.

What a token says of itself decides nothing before its signature is checked, except which of the
issuer's keys is to check it. Addresses of keys in a token's header are never looked at.
"""

from dataclasses import dataclass
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import (
    ExpiredTokenError,
    InvalidClaimError,
    JoseError,
    MissingClaimError,
)
from joserfc.jws import JWSRegistry
from joserfc.jwt import Claims, JWTClaimsRegistry

from pipelines.config.token_issuer import TokenIssuer
from pipelines.gateway.api_errors import Forbidden, WrongKey
from pipelines.gateway.issuer_keys import IssuerKeys
from pipelines.gateway.keys import TENANT, Role
from pipelines.runtime.readers import Groups, to_groups

DEFAULT_ALGORITHMS = ("RS256", "PS256", "ES256")
# Of what else an issuer signs, such as its notices of a sign-out, nothing lets anybody in.
TYPES = ("jwt", "at+jwt", "application/at+jwt")
MAX_BYTES = 16 * 1024
MAX_SUBJECT = 255  # characters, as OpenID Connect has it
MAX_TIME = 253_402_300_799  # seconds since 1970: the last that a calendar has, of the year 9999
CHALLENGE = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
BROKEN = "this is no signed JSON Web Token"
# What joserfc, and Python within it, raise at what is no token.
UNREADABLE = (JoseError, ValueError, TypeError, AttributeError, KeyError, RecursionError)


@dataclass(frozen=True)
class Token:
    """A token that is valid now. Times are seconds since 1970."""

    issuer: str
    subject: str
    tenant: str
    role: Role
    groups: Groups
    issue_time: float
    end_time: float  # with the leeway


class TokenReader:
    """Checks tokens of one issuer."""

    def __init__(self, config: TokenIssuer):
        self._config = config
        self._keys = IssuerKeys(config)
        # Header fields that are not known say nothing and do no harm (RFC 7515, section 4).
        self._registry = JWSRegistry(
            algorithms=config.algorithms or DEFAULT_ALGORITHMS, strict_check_header=False
        )
        self._claims = JWTClaimsRegistry(
            leeway=config.leeway_seconds,
            iss={"essential": True, "value": config.issuer},
            aud={"essential": True, "value": config.audience},
            sub={"essential": True},
            exp={"essential": True, "allow_blank": True},
            iat={"essential": True, "allow_blank": True},
        )

    async def read(self, text: str) -> Token:
        """The token. Raises WrongKey or Forbidden; Unavailable if the issuer cannot be asked."""
        key_id = self._key_id(text)
        keys = await self._keys.find(key_id)
        if keys is None:
            raise _refusal("its issuer has no key of the id that it names")
        try:
            claims = jwt.decode(text, keys, registry=self._registry).claims
        except UNREADABLE as error:
            raise _refusal("its signature is not its issuer's") from error
        self._check(claims)
        return Token(
            issuer=self._config.issuer,
            subject=claims["sub"],
            tenant=self._tenant(claims),
            role=self._role(claims),
            groups=self._groups(claims),
            issue_time=float(claims["iat"]),
            end_time=float(claims["exp"]) + self._config.leeway_seconds,
        )

    def _key_id(self, text: str) -> str:
        """Which key is said to have signed it. Raises WrongKey if it cannot be a token."""
        if len(text) > MAX_BYTES:
            raise _refusal(f"it is longer than {MAX_BYTES} bytes")
        try:
            header = jws.extract_compact(text.encode("ascii"), registry=self._registry).headers()
            self._registry.check_header(header)
            self._registry.get_alg(header["alg"])
        except UNREADABLE as error:
            allowed = ", ".join(self._registry.allowed or ())
            raise _refusal(f"{BROKEN} with one of the algorithms {allowed}") from error
        if "crit" in header:
            raise _refusal("it demands extensions that are not known here")
        if header.get("typ", TYPES[0]).lower() not in TYPES:
            raise _refusal(f"tokens of the type {header['typ']!r} let nobody in")
        key_id = header.get("kid")
        if not isinstance(key_id, str):
            raise _refusal("it does not name the key that has signed it")
        return key_id

    def _check(self, claims: Claims) -> None:
        """Raises WrongKey if a claim that every token has is missing or wrong."""
        try:
            self._claims.validate(claims)
        except ExpiredTokenError as error:
            raise _refusal("it has expired; get a new one") from error
        except (InvalidClaimError, MissingClaimError) as error:
            raise _refusal(f"{error.description}, or not what gateway.oidc demands") from error
        subject = claims["sub"]
        if len(subject) > MAX_SUBJECT or not subject.isprintable():
            raise _refusal(f"its `sub` must have at most {MAX_SUBJECT} printable characters")
        if not all(0 <= claims[name] <= MAX_TIME for name in ("iat", "exp")):
            raise _refusal("its `iat` or `exp` is no time of a calendar")

    def _tenant(self, claims: Claims) -> str:
        """Raises Forbidden if the claim names none."""
        path = self._config.tenant_claim
        tenant = _value_at(claims, path)
        if not isinstance(tenant, str) or not TENANT.fullmatch(tenant):
            raise _forbidden(f"the claim {'.'.join(path)} of this token names no tenant")
        return tenant

    def _role(self, claims: Claims) -> Role:
        """The highest role that the claim gives. Raises Forbidden if it gives none."""
        path = self._config.role_claim or []
        value = _value_at(claims, path) if path else None
        names = value if isinstance(value, list) else [value]
        roles: set[Role] = set()
        for name in names:
            if isinstance(name, str) and name in self._config.roles:
                roles.add(Role(self._config.roles[name]))
        for role in reversed(Role):
            if role in roles:
                return role
        if self._config.default_role is None:
            raise _forbidden(f"the claim {'.'.join(path)} of this token gives no role here")
        return Role(self._config.default_role)

    def _groups(self, claims: Claims) -> Groups:
        """What the claim names of `readers`; none if it names none of them."""
        path = self._config.group_claim
        value = _value_at(claims, path) if path else None
        names = value if isinstance(value, list) else [value]
        groups: set[str] = set()
        for name in names:
            if isinstance(name, str) and name in self._config.groups:
                groups.add(self._config.groups[name])
        return to_groups(groups)


def _value_at(claims: Claims, path: list[str]) -> Any:
    """The claim at the end of the path; None if there is none."""
    value: Any = claims
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _refusal(reason: str) -> WrongKey:
    return WrongKey(f"no valid token: {reason}", code="invalid_token", headers=CHALLENGE)


def _forbidden(reason: str) -> Forbidden:
    return Forbidden(f"{reason} (gateway.oidc)", code="token_claim")
