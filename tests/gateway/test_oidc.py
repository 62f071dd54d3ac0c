"""Tokens instead of keys, through a real gateway, of a real issuer. No assistant is asked."""

import argparse
import base64
import hmac
import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from joserfc import jwe
from joserfc.jwk import Key, RSAKey
from openai import OpenAI
from sqlalchemy import Engine, String

from pipelines.commands import keys as keys_command
from pipelines.config import params
from pipelines.config.token_issuer import TokenIssuer
from pipelines.errors import UserError
from pipelines.gateway import database, keys, token_owners
from pipelines.gateway.api_errors import WrongKey
from pipelines.gateway.database import KEYS
from pipelines.gateway.keys import Role
from pipelines.gateway.tokens import DEFAULT_ALGORITHMS, Token
from tests.conftest import enter_new_clone
from tests.gateway.conftest import run_gateway, write_params
from tests.gateway.issuers import HOUR, JWKS, Issuer, new_key, run_issuer, settings, sign
from tests.gateway.proxies import HANDBOOK
from tests.gateway.servers import wait_for_room_in_minute
from tests.gateway.test_accounts import engine, postgres
from tests.gateway.test_batches import chat_line
from tests.gateway.test_front import BODY, CHAT, allow, call

__all__ = ["engine", "postgres"]

MODELS = "/v1/models"
Forge = Callable[[Issuer, str], str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with enter_new_clone(tmp_path_factory.mktemp("oidc") / "clone") as folder:
        yield folder


@pytest.fixture(scope="module")
def url(folder: Path, issuer: Issuer) -> Iterator[str]:
    """A gateway without limits that accepts the issuer's tokens."""
    with run_gateway(oidc=settings(issuer.url)) as address:
        yield address


@pytest.fixture(scope="module")
def trap() -> Iterator[Issuer]:
    """An attacker's own server, which publishes an attacker's key."""
    with run_issuer() as trap:
        trap.keys = [new_key("attacker")]
        yield trap


def test_a_token_opens_what_its_role_may_and_so_does_a_key(url: str, issuer: Issuer) -> None:
    assert call(url, MODELS, key=issuer.token()).status == 200
    assert call(url, MODELS, key=keys.create(database.connect(), "shop", Role.ASKER)).status == 200
    for group in ("askers", "reviewers"):
        refusal = call(url, "/metrics", key=issuer.token(groups=[group]))
        assert (refusal.status, refusal.code) == (403, "role")
    assert call(url, "/metrics", key=issuer.token(groups=["operators"])).status == 200
    assert call(url, "/v1/operator", key=issuer.token(groups=["operators"])).status == 200
    without_assistant = call(url, CHAT, BODY, issuer.token())
    assert (without_assistant.status, without_assistant.code) == (503, "failed")


# --- attacks ---


def unsigned(claims: dict[str, Any], algorithm: str = "none") -> str:
    header = {"alg": algorithm, "kid": "first", "typ": "JWT"}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in (header, claims)]
    return ".".join(part.decode().rstrip("=") for part in parts) + "."


def with_public_key_as_secret(issuer: Issuer, secret: bytes) -> str:
    """The classic: the public key, which everybody has, is taken as the secret of an HMAC."""
    header = {"alg": "HS256", "kid": "first"}
    claims = issuer.claims(groups=["operators"])
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()) for part in (header, claims)]
    text = b".".join(part.rstrip(b"=") for part in parts)
    seal = base64.urlsafe_b64encode(hmac.digest(secret, text, "sha256")).rstrip(b"=")
    return (text + b"." + seal).decode()


def public_pem(issuer: Issuer) -> bytes:
    key = issuer.keys[0]
    assert isinstance(key, RSAKey)
    return key.as_pem(private=False)


def public_jwk(issuer: Issuer) -> bytes:
    return json.dumps(issuer.keys[0].as_dict(private=False)).encode()


def by_attacker(issuer: Issuer, **header: Any) -> str:
    return sign(issuer.claims(groups=["operators"]), new_key("attacker"), **header)


def by_attackers_curve(issuer: Issuer) -> str:
    return sign(issuer.claims(), new_key("attacker", "P-256"), kid="first")


def encrypted(issuer: Issuer) -> str:
    header = {"alg": "RSA-OAEP", "enc": "A256GCM", "kid": "first"}
    key = RSAKey.import_key(public_pem(issuer))
    return jwe.encrypt_compact(header, json.dumps(issuer.claims()), key)


def changed(issuer: Issuer) -> str:
    """Another tenant under a good signature."""
    header, _, signature = issuer.token().split(".")
    return f"{header}.{unsigned(issuer.claims(team='bank')).split('.')[1]}.{signature}"


def embedded(key: Key) -> dict[str, Any]:
    return key.as_dict(private=False)


FORGERIES: dict[str, Forge] = {
    "alg none": lambda issuer, _: unsigned(issuer.claims()),
    "alg None": lambda issuer, _: unsigned(issuer.claims(), "None"),
    "no signature": lambda issuer, _: unsigned(issuer.claims(), "RS256"),
    "HS256 with the PEM": lambda issuer, _: with_public_key_as_secret(issuer, public_pem(issuer)),
    "HS256 with the JWK": lambda issuer, _: with_public_key_as_secret(issuer, public_jwk(issuer)),
    "another key under this id": lambda issuer, _: by_attacker(issuer, kid="first"),
    "a key of another kind": lambda issuer, _: by_attackers_curve(issuer),
    "an unknown key": lambda issuer, _: by_attacker(issuer),
    "its own key in its header": lambda issuer, _: by_attacker(
        issuer, kid="first", jwk=embedded(new_key("attacker"))
    ),
    "jku": lambda issuer, trap: by_attacker(issuer, jku=trap + JWKS),
    "jku and this id": lambda issuer, trap: by_attacker(issuer, kid="first", jku=trap + JWKS),
    "x5u": lambda issuer, trap: by_attacker(issuer, kid="first", x5u=trap + JWKS),
    "an address as the id": lambda issuer, trap: by_attacker(issuer, kid=trap + JWKS),
    "a path as the id": lambda issuer, _: by_attacker(issuer, kid="../../../../dev/null"),
    "no id": lambda issuer, _: sign(issuer.claims(), issuer.keys[0], kid=None),
    "changed claims": lambda issuer, _: changed(issuer),
    "encrypted": lambda issuer, _: encrypted(issuer),
    "a critical extension": lambda issuer, _: sign(
        issuer.claims(), issuer.keys[0], crit=["b64"], b64=True
    ),
    "a notice of a sign-out": lambda issuer, _: sign(
        issuer.claims(), issuer.keys[0], typ="logout+jwt"
    ),
    "too long": lambda issuer, _: issuer.token(note="x" * 16_000),
    "two tokens": lambda issuer, _: f"{issuer.token()} {issuer.token()}",
    "three words": lambda _issuer, _trap: "a.b.c",
    "a word": lambda _issuer, _trap: "guess",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_token_is_refused_and_leads_nowhere(
    url: str, issuer: Issuer, trap: Issuer, name: str
) -> None:
    assert call(url, MODELS, key=issuer.token()).status == 200
    before = issuer.num_requests.total()
    answer = call(url, MODELS, key=FORGERIES[name](issuer, trap.url))
    assert (answer.status, answer.code) == (401, "invalid_token")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert trap.num_requests == {}
    assert issuer.num_requests.total() - before <= 2  # for an unknown key, now and then


NOW = int(time.time())
WRONG_CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "another issuer": ({"iss": "https://login.example.com"}, "iss"),
    "no issuer": ({"iss": None}, "iss"),
    "another audience": ({"aud": "billing"}, "aud"),
    "other audiences": ({"aud": ["billing", "assistant2"]}, "aud"),
    "an audience that is no text": ({"aud": [["assistant"]]}, "aud"),
    "no audience": ({"aud": None}, "aud"),
    "an audience that is empty": ({"aud": []}, "aud"),
    "expired": ({"exp": NOW - 1}, "it has expired"),
    "no end": ({"exp": None}, "exp"),
    "an end that is a text": ({"exp": str(NOW + HOUR)}, "exp"),
    "an end that is true": ({"exp": True}, "exp"),
    "an end that is no number": ({"exp": float("nan")}, "exp"),
    "an end that never comes": ({"exp": 10**400}, "no time of a calendar"),
    "an end in the year 10000": ({"exp": 253_402_300_800}, "no time of a calendar"),
    "valid later": ({"nbf": NOW + HOUR}, "not yet valid"),
    "valid from a text on": ({"nbf": "now"}, "nbf"),
    "issued later": ({"iat": NOW + HOUR}, "issued in the future"),
    "issued before all times": ({"iat": -(10**400)}, "no time of a calendar"),
    "no time of issue": ({"iat": None}, "iat"),
    "no subject": ({"sub": None}, "sub"),
    "a subject that is empty": ({"sub": ""}, "sub"),
    "a subject that is a number": ({"sub": 7}, "sub"),
    "a subject that is long": ({"sub": "x" * 256}, "printable characters"),
    "a subject with a NUL": ({"sub": "ada\0"}, "printable characters"),
}


@pytest.mark.parametrize("name", WRONG_CLAIMS)
def test_a_token_for_another_time_or_purpose_is_refused(
    url: str, issuer: Issuer, name: str
) -> None:
    claims, reason = WRONG_CLAIMS[name]
    answer = call(url, MODELS, key=issuer.token(**claims))
    assert (answer.status, answer.code) == (401, "invalid_token")
    assert reason in answer.body["error"]["message"]


@pytest.mark.parametrize(
    "team",
    [None, "", "../bank", "a b", "shop\n", "x" * 65, ["shop"], 7, True, {"shop": 1}, "-shop", "ｓ"],
)
def test_a_tenant_that_is_no_name_is_refused(url: str, issuer: Issuer, team: Any) -> None:
    answer = call(url, MODELS, key=issuer.token(team=team))
    assert (answer.status, answer.code) == (403, "token_claim")
    assert "the claim team of this token names no tenant" in answer.body["error"]["message"]


def test_failed_tokens_count_as_failed_keys_and_valid_ones_pass(
    folder: Path, issuer: Issuer
) -> None:
    with run_gateway(limits=allow(), oidc=settings(issuer.url)) as address:
        expired = issuer.token(exp=NOW - 1)
        guesses = ["ak-guess", expired, issuer.token(team=None), expired, "ak-guess"]
        wait_for_room_in_minute()
        answers = [call(address, MODELS, key=guess) for guess in guesses]
        assert [answer.status for answer in answers] == [401, 401, 403, 429, 429]
        assert answers[-1].code == "failed_keys_per_minute"
        assert call(address, MODELS, key=issuer.token()).status == 200


def test_without_an_issuer_tokens_are_no_keys(folder: Path, issuer: Issuer) -> None:
    before = issuer.num_requests.total()
    with run_gateway() as address:
        assert call(address, MODELS, key=issuer.token()).code == "invalid_api_key"
    assert issuer.num_requests.total() == before


def test_while_the_issuer_is_down_keys_go_on_and_no_token_passes(folder: Path) -> None:
    with run_issuer() as issuer:
        token = issuer.token()
    with run_gateway(oidc=settings(issuer.url)) as address:
        answer = call(address, MODELS, key=token)
        assert (answer.status, answer.code) == (503, "issuer_unavailable")
        assert issuer.url in answer.body["error"]["message"]
        assert int(answer.headers["retry-after"]) >= 1
        key = keys.create(database.connect(), "shop", Role.ASKER)
        assert call(address, MODELS, key=key).status == 200
        assert call(address, "/healthz").status == 200
        assert call(address, MODELS, key="a.b.c").status == 401


# --- whoever a token belongs to ---


def of(subject: str, **changes: Any) -> Token:
    values = {
        "issuer": "https://login.example.com",
        "tenant": "shop",
        "role": Role.ASKER,
        "groups": (),
        "issue_time": time.time(),
        "end_time": time.time() + HOUR,
    }
    return Token(subject=subject, **{**values, **changes})


def test_an_owner_has_an_id_of_their_own_that_is_no_keys() -> None:
    ada = token_owners.owner_id("https://login.example.com", "ada")
    assert ada == "u2midld4nfb4i3oe"  # a change would part owners from what they have spent
    pairs = [("https://login.example.com", "bob"), ("https://login.example.co", "mada")]
    pairs += [("https://other.example.com", "ada"), ("https://login.example.com", "Ada")]
    ids = {token_owners.owner_id(*pair) for pair in pairs}
    assert len({ada, *ids}) == 5
    column = KEYS.c.id.type
    assert isinstance(column, String)
    for key_id in ids:
        assert len(key_id) == column.length
        assert token_owners.is_owner(key_id)
        assert key_id.isalnum()  # it stands in tickets and tables
        assert keys.PATTERN.fullmatch(f"ak-{key_id}-{'x' * 43}") is None


def test_an_owner_counts_as_a_key_that_ends_with_the_newest_token(engine: Engine) -> None:
    now = time.time()
    key = token_owners.admit(engine, of("ada", end_time=now + 1.5))
    assert (key.tenant, key.role) == ("shop", Role.ASKER)
    assert keys.is_valid(engine, key.id, "shop")
    assert not keys.is_valid(engine, key.id, "bank")
    time.sleep(1.6)
    assert not keys.is_valid(engine, key.id, "shop")
    newer = of("ada", tenant="bank", role=Role.OPERATOR, issue_time=now + 1)
    assert token_owners.admit(engine, newer).id == key.id
    assert keys.is_valid(engine, key.id, "bank")
    # An older token that comes later says what it says, and changes nothing for the future.
    older = token_owners.admit(engine, of("ada", issue_time=now, end_time=now + 2 * HOUR))
    assert (older.tenant, older.role) == ("shop", Role.ASKER)
    (row,) = keys.read_all(engine)
    assert (row.tenant, row.role, row.subject) == ("bank", "operator", "ada")


def test_many_first_requests_of_an_owner_make_one_row(engine: Engine) -> None:
    tokens = [of("ada", issue_time=time.time() - number) for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        owners = list(pool.map(lambda token: token_owners.admit(engine, token), tokens))
    assert len({key.id for key in owners}) == 1
    (row,) = keys.read_all(engine)
    assert row.created == pytest.approx(tokens[0].issue_time, abs=1e-3)


def test_a_revoked_owner_is_refused_until_restored(engine: Engine) -> None:
    key = token_owners.admit(engine, of("ada"))
    keys.revoke(engine, key.id)
    assert not keys.is_valid(engine, key.id, "shop")
    for token in (of("ada"), of("ada", issue_time=time.time() + 60)):
        with pytest.raises(WrongKey, match=f"its owner {key.id} was revoked"):
            token_owners.admit(engine, token)
    assert token_owners.admit(engine, of("bob")).id != key.id
    keys.restore(engine, key.id)
    assert token_owners.admit(engine, of("ada")).id == key.id
    revoked_key = keys.create(engine, "shop", Role.ASKER).split("-")[1]
    keys.revoke(engine, revoked_key)
    for nobody in (key.id, revoked_key, "u000000000000000"):
        with pytest.raises(UserError, match="there is no revoked owner"):
            keys.restore(engine, nobody)


def test_the_commands_list_revoke_and_restore_owners(
    url: str, issuer: Issuer, capsys: pytest.CaptureFixture[str]
) -> None:
    token = issuer.token(sub="grace", team="navy")
    assert call(url, MODELS, key=token).status == 200
    key_id = token_owners.owner_id(issuer.url, "grace")
    run_keys("list")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if key_id in line]
    assert line.split()[:3] == [key_id, "navy", "asker"]
    assert line.endswith(f"grace of {issuer.url}")
    run_keys("revoke", key_id)
    refusal = call(url, MODELS, key=token)
    assert (refusal.status, refusal.code) == (401, "invalid_token")
    run_keys("restore", key_id)
    assert call(url, MODELS, key=token).status == 200


def run_keys(*words: str) -> None:
    parser = argparse.ArgumentParser()
    keys_command.add_arguments(parser)
    assert keys_command.run(parser.parse_args(words)) == 0


def test_a_limit_holds_for_all_tokens_of_an_owner_together(folder: Path, issuer: Issuer) -> None:
    limits = allow(requests_per_minute=2)
    with run_gateway(limits=limits, oidc=settings(issuer.url)) as address:
        tokens = [issuer.token(sub="limited", jti=str(number)) for number in range(3)]
        statuses = [call(address, CHAT, BODY, token).status for token in tokens]
        assert statuses == [503, 503, 429]
        assert call(address, CHAT, BODY, issuer.token(sub="another")).status == 503


def test_a_report_takes_a_ticket_that_ends_with_the_owners_role(
    url: str, issuer: Issuer, folder: Path
) -> None:
    reports = folder / "data/reports"
    reports.mkdir(parents=True, exist_ok=True)
    (reports / "corpus.html").write_text("<title>Corpus</title>")
    now = int(time.time())
    operator = issuer.token(sub="olga", groups=["operators"], iat=now - 10)
    (link,) = call(url, "/v1/operator", key=operator).body["reports"]
    assert call(url, link["url"]).status == 200
    assert call(url, MODELS, key=issuer.token(sub="olga", groups=["askers"])).status == 200
    assert call(url, link["url"]).status == 404


def begin_batch(address: str, token: str) -> tuple[OpenAI, str]:
    client = OpenAI(base_url=f"{address}/v1", api_key=token, max_retries=0)
    content = json.dumps(chat_line("first")).encode() + b"\n"
    file = client.files.create(file=("questions.jsonl", content), purpose="batch")
    endpoint: Any = CHAT
    batch = client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")
    return client, batch.id


def wait_for_status(client: OpenAI, batch_id: str, status: str) -> Any:
    deadline = time.monotonic() + 60
    while True:
        batch = client.batches.retrieve(batch_id)
        if batch.status == status or time.monotonic() > deadline:
            assert batch.status == status
            return batch
        time.sleep(0.2)


def test_a_batch_goes_on_while_its_owner_has_a_valid_token(url: str, issuer: Issuer) -> None:
    now = int(time.time())
    # Bob shows a newer token in time, Ada does not; Carol's newest is of another tenant.
    short = {"iat": now - 10, "exp": now + 6}
    _, ada = begin_batch(url, issuer.token(sub="ada-b", **short))
    _, bob = begin_batch(url, issuer.token(sub="bob-b", **short))
    _, carol = begin_batch(url, issuer.token(sub="carol-b", iat=now - 10))
    assert call(url, MODELS, key=issuer.token(sub="bob-b")).status == 200
    assert call(url, MODELS, key=issuer.token(sub="carol-b", team="bank")).status == 200
    colleague = OpenAI(base_url=f"{url}/v1", api_key=issuer.token(sub="dora"), max_retries=0)
    for batch_id in (ada, carol):
        batch = wait_for_status(colleague, batch_id, "cancelled")
        assert batch.errors.data[0].code == "key_ended"
        assert "has no valid token of its tenant any more" in batch.errors.data[0].message
    assert wait_for_status(colleague, bob, "in_progress").errors is None
    colleague.batches.cancel(bob)


# --- the section ---


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"issuer": "http://login.example.com"}, "gateway.oidc.issuer: must begin with https"),
        ({"issuer": "login.example.com"}, "gateway.oidc.issuer: must be an address such as"),
        ({"issuer": "https://login.example.com:0"}, "gateway.oidc.issuer: must be an address"),
        ({"issuer": "https://login.example.com/a b"}, "gateway.oidc.issuer: must be an address"),
        ({"issuer": "https://good\\@evil"}, "gateway.oidc.issuer: must be an address such as"),
        ({"issuer": "https://ada:x@login.example.com"}, "without a user, a password and a #"),
        ({"issuer": "https://login.example.com?tenant=1"}, "must be an address without a ?"),
        ({"algorithms": ["HS256"]}, "gateway.oidc.algorithms[0]: Input should be 'RS256'"),
        ({"algorithms": ["none"]}, "gateway.oidc.algorithms[0]: Input should be 'RS256'"),
        ({"algorithms": []}, "gateway.oidc.algorithms: List should have at least 1 item"),
        ({"audience": ""}, "gateway.oidc.audience: String should have at least 1 character"),
        ({"tenant_claim": "team"}, "gateway.oidc.tenant_claim: Input should be a valid list"),
        ({"roles": {"boss": "root"}}, "gateway.oidc.roles.boss: Input should be 'asker'"),
        ({"roles": {}}, "gateway.oidc: without roles and default_role every token would be"),
        ({"role_claim": None}, "gateway.oidc: roles needs a role_claim"),
        ({"leeway_seconds": 3600}, "gateway.oidc.leeway_seconds: Input should be less than"),
        ({"keys_seconds": 1.0}, "gateway.oidc.keys_seconds: Input should be greater than"),
        ({"isuer": "x"}, "gateway.oidc.isuer: no such key. Did you mean `issuer`?"),
    ],
)
def test_a_mistake_in_the_section_is_named(
    clone: Path, changes: dict[str, Any], problem: str
) -> None:
    write_params(oidc=settings("https://login.example.com", **changes))
    with pytest.raises(UserError) as caught:
        params.load()
    assert problem in str(caught.value)


def test_the_handbooks_section_is_good() -> None:
    (section,) = re.findall(
        r"```yaml\n(# params.yaml\ngateway:\n  oidc:.*?)```", HANDBOOK.read_text(), re.DOTALL
    )
    config = TokenIssuer.model_validate(yaml.safe_load(section)["gateway"]["oidc"])
    assert tuple(config.algorithms or DEFAULT_ALGORITHMS) == ("RS256", "PS256", "ES256")


def test_a_section_without_a_key_of_its_own_is_incomplete(clone: Path) -> None:
    section = settings("http://localhost:8080/realms/team")
    write_params(oidc=section)
    params.load()
    del section["audience"]
    write_params(oidc=section)
    with pytest.raises(UserError, match="gateway.oidc.audience: is missing"):
        params.load()
