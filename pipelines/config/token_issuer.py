"""`gateway.oidc` of params.yaml: whose tokens the gateway accepts beside its own keys."""

import ipaddress
import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from pipelines.config.section import Section
from pipelines.runtime import readers

# Signed with a private key that the issuer alone has. `none` and HS256, whose secret would have to
# be shared, cannot be written here.
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519",
    "EdDSA",
]  # fmt: skip


def _check_group(name: str) -> str:
    readers.to_groups([name])
    return name


RoleName = Literal["asker", "reviewer", "operator"]
GroupName = Annotated[str, AfterValidator(_check_group)]
Name = Annotated[str, Field(min_length=1)]
URL_CHARACTERS = re.compile(r"[!-\[\]-~]+")  # printable ASCII without a space or a backslash


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, by its spelling alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def url_problem(url: str) -> str | None:
    """Why nothing may be fetched from an address; None if it may."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        is_good = bool(host) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or parts.scheme not in ("https", "http") or not URL_CHARACTERS.fullmatch(url):
        return "must be an address such as https://login.example.com"
    if parts.username is not None or parts.fragment:
        return "must be an address without a user, a password and a #"
    if parts.scheme == "http" and not is_loopback(host or ""):
        return "must begin with https, or whoever is on the way could sign tokens of their own"
    return None


def _check_issuer(url: str) -> str:
    problem = url_problem(url)
    if problem is None and urlsplit(url).query:
        problem = "must be an address without a ?"
    if problem is not None:
        raise ValueError(problem)
    return url


class TokenIssuer(Section):
    """An OpenID provider, and what its tokens' claims mean here."""

    issuer: Annotated[str, AfterValidator(_check_issuer)] = Field(
        description="address of the provider, exactly as the claim `iss` of its tokens has it"
    )
    audience: str = Field(
        min_length=1, description="for whom its tokens must be made out: their claim `aud`"
    )
    tenant_claim: list[Name] = Field(
        min_length=1,
        description="names that lead to the claim with the tenant: [team], or [app, team] for a "
        "claim inside a claim",
    )
    role_claim: list[Name] | None = Field(
        min_length=1,
        description="names that lead to the claim with the role or roles, such as [groups]; "
        "null: default_role for everybody",
    )
    roles: dict[str, RoleName] = Field(
        description="what the role's claim says -> role; the highest counts"
    )
    default_role: RoleName | None = Field(
        description="role of those whose claim says nothing of this; null: they are refused"
    )
    group_claim: list[Name] | None = Field(
        default=None,
        min_length=1,
        description="names that lead to the claim with the groups, such as [groups]; null: nobody "
        "reads more than everyone may",
    )
    groups: dict[str, GroupName] = Field(
        default={},
        description="what the groups' claim says -> group that documents name as their readers",
    )
    algorithms: Annotated[list[Algorithm], Field(min_length=1)] | None = Field(
        description="of signatures that are accepted; null: RS256, PS256 and ES256"
    )
    leeway_seconds: int = Field(
        ge=0, le=300, description="by which the issuer's clock may differ from this machine's"
    )
    keys_seconds: float = Field(
        ge=60,
        le=86_400,
        description="for which the issuer's public keys are kept before they are fetched again",
    )

    @model_validator(mode="after")
    def _check_roles(self) -> Self:
        if self.role_claim is None and self.roles:
            raise ValueError("roles needs a role_claim")
        if self.group_claim is None and self.groups:
            raise ValueError("groups needs a group_claim")
        if not self.roles and self.default_role is None:
            raise ValueError("without roles and default_role every token would be refused")
        return self
