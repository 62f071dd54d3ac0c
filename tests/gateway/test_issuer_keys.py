"""How the issuer's keys are fetched, kept and fetched again, from a real issuer."""

import asyncio
import base64
import contextlib
import gzip
import json
import socket
import time
import warnings
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from joserfc.jwk import KeySet, RSAKey
from joserfc.util import json_b64encode

from pipelines.config.token_issuer import Algorithm, TokenIssuer
from pipelines.gateway import issuer_keys
from pipelines.gateway.api_errors import ApiError, Forbidden, Unavailable, WrongKey
from pipelines.gateway.issuer_keys import DISCOVERY
from pipelines.gateway.keys import Role
from pipelines.gateway.tokens import Token, TokenReader
from tests.gateway.issuers import JWKS, Issuer, new_key, run_issuer, settings, sign
from tests.gateway.proxies import Certificate


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with run_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def silent_reader() -> TokenReader:
    """Of an issuer that nobody asks."""
    return TokenReader(TokenIssuer.model_validate(settings("https://login.example.com")))


def reader_of(issuer: Issuer, **changes: Any) -> TokenReader:
    return TokenReader(TokenIssuer.model_validate(settings(issuer.url, **changes)))


def read(reader: TokenReader, *tokens: str) -> list[Token | BaseException]:
    """What comes of tokens that arrive at the same time."""

    async def gather() -> list[Token | BaseException]:
        tasks = [reader.read(token) for token in tokens]
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(gather())


def error_of(reader: TokenReader, token: str) -> ApiError:
    (error,) = read(reader, token)
    assert isinstance(error, ApiError), error
    return error


def subject_of(reader: TokenReader, token: str) -> str:
    (result,) = read(reader, token)
    assert isinstance(result, Token), result
    return result.subject


def pass_time(reader: TokenReader, seconds: float) -> None:
    """As if the keys and the last try were so much older."""
    reader._keys._keys_time -= seconds
    reader._keys._try_time -= seconds


def test_the_documents_are_fetched_once_for_many_tokens(issuer: Issuer) -> None:
    reader = reader_of(issuer)
    assert issuer.num_requests == {}  # nothing before a token comes
    results = read(reader, *[issuer.token(sub=f"ada-{number}") for number in range(50)])
    assert all(isinstance(result, Token) for result in results)
    assert subject_of(reader, issuer.token()) == "ada"
    assert issuer.num_requests == {DISCOVERY: 1, JWKS: 1}


def test_a_new_key_of_the_issuer_counts_after_a_moment_and_a_withdrawn_one_no_more(
    issuer: Issuer,
) -> None:
    reader = reader_of(issuer)
    old = issuer.token()
    assert subject_of(reader, old) == "ada"
    issuer.keys = [new_key("second", "P-256")]
    new = issuer.token()
    assert "no key of the id" in str(error_of(reader, new))
    pass_time(reader, issuer_keys.UNKNOWN_SECONDS)
    assert subject_of(reader, new) == "ada"
    assert "no key of the id" in str(error_of(reader, old))
    assert issuer.num_requests[JWKS] == 2


def test_keys_are_fetched_again_when_their_time_is_over(issuer: Issuer) -> None:
    reader = reader_of(issuer, keys_seconds=60.0)
    withdrawn = issuer.token()
    assert subject_of(reader, withdrawn) == "ada"
    issuer.keys = [new_key("second")]
    pass_time(reader, 59.0)
    assert subject_of(reader, withdrawn) == "ada"
    pass_time(reader, 1.0)
    assert isinstance(error_of(reader, withdrawn), WrongKey)


def test_a_flood_of_unknown_keys_leads_to_one_fetch(issuer: Issuer) -> None:
    reader = reader_of(issuer)
    assert subject_of(reader, issuer.token()) == "ada"
    pass_time(reader, issuer_keys.UNKNOWN_SECONDS)
    claims = issuer.claims()
    flood = [sign(claims, issuer.keys[0], kid=f"guess-{number}") for number in range(300)]
    errors = [*read(reader, *flood), *read(reader, *flood)]
    assert all(isinstance(error, WrongKey) for error in errors)
    assert issuer.num_requests == {DISCOVERY: 2, JWKS: 2}


def test_without_the_issuer_its_keys_serve_until_their_time_is_over_and_then_none_pass() -> None:
    with run_issuer() as issuer:
        reader = reader_of(issuer, keys_seconds=60.0)
        token = issuer.token()
        assert subject_of(reader, token) == "ada"
        unknown = sign(issuer.claims(), issuer.keys[0], kid="second")
    assert subject_of(reader, token) == "ada"
    pass_time(reader, issuer_keys.UNKNOWN_SECONDS)
    error = error_of(reader, unknown)
    assert isinstance(error, Unavailable)
    assert (error.status, error.code) == (503, "issuer_unavailable")
    assert "it was not reached (ConnectError)" in str(error)
    assert int(error.headers["Retry-After"]) >= 1
    assert subject_of(reader, token) == "ada"
    pass_time(reader, 60.0)
    assert isinstance(error_of(reader, token), Unavailable)


def test_an_issuer_that_fails_is_not_asked_at_every_token(issuer: Issuer) -> None:
    issuer.status = 500
    reader = reader_of(issuer)
    errors = read(reader, *[issuer.token()] * 100)
    assert all(isinstance(error, Unavailable) for error in errors)
    assert issuer.num_requests == {DISCOVERY: 1}
    issuer.status = 200
    assert "status 500" in str(error_of(reader, issuer.token()))
    pass_time(reader, issuer_keys.RETRY_SECONDS)
    assert subject_of(reader, issuer.token()) == "ada"


def test_an_issuer_that_takes_too_long_is_given_up(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer_keys, "FETCH_SECONDS", 0.5)
    issuer.delay_seconds = 1.5
    begin = time.monotonic()
    assert "no answer within 0.5 s" in str(error_of(reader_of(issuer), issuer.token()))
    assert time.monotonic() - begin < 1.4


def test_a_redirect_is_not_followed(issuer: Issuer) -> None:
    with run_issuer() as trap:
        issuer.status = 302
        issuer.headers["Location"] = trap.url + DISCOVERY
        assert "status 302" in str(error_of(reader_of(issuer), issuer.token()))
        assert trap.num_requests == {}


@pytest.mark.parametrize(
    ("discovery", "reason"),
    [
        ({"issuer": "https://login.example.com"}, "is of the issuer 'https://login.example.com'"),
        ({"issuer": None}, "is of the issuer None"),
        ({"jwks_uri": None}, "names no https address"),
        ({"jwks_uri": "http://login.example.com/keys"}, "names no https address"),
        ({"jwks_uri": "file:///etc/passwd"}, "names no https address"),
        ({"jwks_uri": "https://ada:secret@login.example.com/keys"}, "names no https address"),
        ({"jwks_uri": ["https://login.example.com/keys"]}, "names no https address"),
    ],
)
def test_a_discovery_document_of_somebody_else_is_refused(
    issuer: Issuer, discovery: dict[str, Any], reason: str
) -> None:
    issuer.discovery |= discovery
    error = error_of(reader_of(issuer), issuer.token())
    assert isinstance(error, Unavailable)
    assert reason in str(error)
    assert issuer.num_requests == {DISCOVERY: 1}


def public(*keys: Any) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


with warnings.catch_warnings(action="ignore"):
    WEAK = RSAKey.generate_key(1024, {"kid": "first"})
SECRET = {"kty": "oct", "kid": "first", "k": "x" * 43}


@pytest.mark.filterwarnings("ignore:Key size")
@pytest.mark.parametrize(
    ("path", "content", "reason"),
    [
        (DISCOVERY, b"<html>", "sent no JSON"),
        (DISCOVERY, b"[" * 100_000, "sent no JSON"),
        (DISCOVERY, b"[]", "sent no JSON object"),
        (DISCOVERY, b"{" + b" " * issuer_keys.MAX_BYTES, "sent more than"),
        (DISCOVERY, gzip.compress(b"{}", mtime=0), "sent no JSON"),
        (JWKS, b"{}", "publishes no key"),
        (JWKS, b'{"keys": {"first": 1}}', "publishes no key"),
        (JWKS, b'{"keys": [1, null, {}, {"kid": "first"}]}', "publishes no key"),
        (JWKS, b'{"keys": [{"kty": "RSA", "kid": "first", "n": "x", "e": 1}]}', "publishes no key"),
        (JWKS, json.dumps({"keys": [SECRET]}).encode(), "publishes no key"),
        (JWKS, public(WEAK), "publishes no key"),
        (JWKS, json.dumps({"keys": [new_key("first").as_dict(private=True)]}).encode(), "no key"),
        (JWKS, b"x" * (issuer_keys.MAX_BYTES + 1), "sent more than"),
    ],
)
def test_a_document_that_cannot_be_used_lets_nobody_in(
    issuer: Issuer, path: str, content: bytes, reason: str
) -> None:
    issuer.contents[path] = content
    error = error_of(reader_of(issuer), issuer.token())
    assert isinstance(error, Unavailable)
    assert reason in str(error)


def test_keys_of_kinds_that_are_not_known_do_not_hide_the_others(issuer: Issuer) -> None:
    good = KeySet(issuer.keys).as_dict(private=False)["keys"]
    strange = [{"kty": "AKP", "kid": "first", "alg": "ML-DSA-65"}, {"kty": "EC", "crv": "P-1"}]
    issuer.contents[JWKS] = json.dumps({"keys": [*strange, SECRET, *good]}).encode()
    assert subject_of(reader_of(issuer), issuer.token()) == "ada"


def test_keys_for_encryption_or_for_another_algorithm_sign_no_token(issuer: Issuer) -> None:
    reader = reader_of(issuer)
    for fields in ({"use": "enc"}, {"use": "sig", "alg": "RS512"}, {"key_ops": ["encrypt"]}):
        key = {**issuer.keys[0].as_dict(private=False), **fields}
        if "key_ops" in fields:
            key.pop("use")
        issuer.contents[JWKS] = json.dumps({"keys": [key]}).encode()
        pass_time(reader, 700.0)
        assert isinstance(error_of(reader, issuer.token()), WrongKey)


def test_by_https_the_issuers_certificate_is_checked(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_issuer(certificate=certificate) as issuer:
        assert "(ConnectError)" in str(error_of(reader_of(issuer), issuer.token()))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
        assert subject_of(reader_of(issuer), issuer.token()) == "ada"


def test_a_proxy_of_the_environment_does_not_hear_of_an_issuer_on_this_machine(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert subject_of(reader_of(issuer), issuer.token()) == "ada"


@pytest.mark.parametrize(
    ("changes", "claims", "role"),
    [
        ({}, {"groups": "reviewers"}, Role.REVIEWER),
        ({}, {"groups": ["askers", "operators", "dancers"]}, Role.OPERATOR),
        ({"default_role": "asker"}, {"groups": None}, Role.ASKER),
        ({"default_role": "asker"}, {"groups": ["dancers"]}, Role.ASKER),
        ({"default_role": "asker"}, {"groups": [["operators"], 7, {"operators": 1}]}, Role.ASKER),
        ({"default_role": "asker"}, {"groups": {"operators": True}}, Role.ASKER),
        ({"role_claim": None, "roles": {}, "default_role": "reviewer"}, {}, Role.REVIEWER),
        (
            {"role_claim": ["realm_access", "roles"]},
            {"realm_access": {"roles": ["operators"]}},
            Role.OPERATOR,
        ),
    ],
)
def test_the_highest_role_that_the_claim_gives_counts(
    issuer: Issuer, changes: dict[str, Any], claims: dict[str, Any], role: Role
) -> None:
    (token,) = read(reader_of(issuer, **changes), issuer.token(**claims))
    assert isinstance(token, Token)
    assert token.role is role


@pytest.mark.parametrize(
    "groups", [None, [], "dancers", ["dancers"], 7, {"operators": 1}, "ASKERS"]
)
def test_without_a_default_a_claim_that_gives_no_role_is_refused(
    issuer: Issuer, groups: Any
) -> None:
    error = error_of(reader_of(issuer), issuer.token(groups=groups))
    assert isinstance(error, Forbidden)
    assert "the claim groups of this token gives no role here" in str(error)


def test_a_clock_that_differs_by_less_than_the_leeway_does_no_harm(issuer: Issuer) -> None:
    now = int(time.time())
    late = issuer.token(exp=now - 20)
    early = issuer.token(iat=now + 20, nbf=now + 20)
    patient = reader_of(issuer, leeway_seconds=30)
    assert subject_of(patient, late) == subject_of(patient, early) == "ada"
    strict = reader_of(issuer, leeway_seconds=10)
    assert "expired" in str(error_of(strict, late))
    assert isinstance(error_of(strict, early), WrongKey)


KINDS = {
    "R": "RSA",
    "P": "RSA",
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "Ed": "Ed25519",
}


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("algorithm", get_args(Algorithm))
def test_every_algorithm_of_the_list_is_understood(issuer: Issuer, algorithm: str) -> None:
    (kind,) = [kind for start, kind in KINDS.items() if algorithm.startswith(start)]
    issuer.keys = [new_key(kind, kind)]
    token = sign(issuer.claims(), issuer.keys[0], alg=algorithm)
    assert subject_of(reader_of(issuer, algorithms=[algorithm]), token) == "ada"


def test_the_algorithms_are_those_that_the_section_names(issuer: Issuer) -> None:
    issuer.keys = [new_key("first"), new_key("second", "P-256")]
    first, second = (sign(issuer.claims(), key) for key in issuer.keys)
    reader = reader_of(issuer, algorithms=["ES256"])
    assert subject_of(reader, second) == "ada"
    assert "one of the algorithms ES256" in str(error_of(reader, first))


def encode(value: Any) -> str:
    """A value as a part of a token."""
    return json_b64encode(value).decode()


GOOD_HEADER = encode({"alg": "RS256", "kid": "first"})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(st.text(max_size=8), deeper),
    max_leaves=5,
)
HEADERS = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk"]), VALUES)
HEADER_TEXTS = (HEADERS | VALUES).map(encode)
PARTS = st.lists(HEADER_TEXTS | st.text(max_size=12) | st.just(GOOD_HEADER), min_size=1, max_size=5)


@hypothesis_settings(max_examples=300, deadline=None)
@given(parts=PARTS)
def test_what_is_no_token_is_refused_however_it_is_made(
    silent_reader: TokenReader, parts: list[str]
) -> None:
    with contextlib.suppress(WrongKey):
        assert isinstance(silent_reader._key_id(".".join(parts)), str)


@pytest.mark.parametrize("text", ["[" * 380, '{"alg":' * 54, "\ud800", "é", "\0"])
def test_a_strange_header_is_refused(silent_reader: TokenReader, text: str) -> None:
    encoded = base64.urlsafe_b64encode(text.encode(errors="surrogatepass")).decode()
    for token in (f"{encoded}.{encoded}.", f"{text}.{encoded}.{encoded}"):
        with pytest.raises(WrongKey, match="no signed JSON Web Token"):
            silent_reader._key_id(token)
