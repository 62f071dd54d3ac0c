"""Documents that not everyone may read, asked for through a real gateway in every way there is."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from pipelines import files
from pipelines.contracts.chunks import CHUNKS
from pipelines.errors import UserError
from pipelines.gateway import database, keys, token_owners
from pipelines.gateway.keys import Role
from pipelines.runtime.readers import Groups
from pipelines.serving import client, gateway_client, live_server
from pipelines.vectorstore import alias_state, build_index, point_alias
from tests.gateway.conftest import run_gateway
from tests.gateway.issuers import Issuer, settings
from tests.gateway.test_answer_cache import CACHE, Client
from tests.gateway.test_batches import begin, chat_line, results, wait_for_end
from tests.gateway.test_openai import row_of
from tests.serving.conftest import QUESTIONS

PUBLIC = {f"handbook/{number}.md" for number in range(0, 8, 2)}
SECRET = {f"handbook/{number}.md" for number in range(1, 8, 2)}  # for hr alone


@pytest.fixture(scope="module")
def url(assistant: Path, models: Path, issuer: Issuer) -> Iterator[str]:
    """A gateway whose live release reads passages of which every second one is for hr alone."""
    folder = Path("readers")
    chunks = list(files.read(models / "chunks.parquet", CHUNKS))
    for row in chunks:
        row["readers"] = ["hr"] if row["uri"] in SECRET else ["everyone"]
    files.write(folder / "chunks.parquet", CHUNKS, chunks)
    receipt = build_index(
        folder / "chunks.parquet", models / "vectors.parquet", keep=3, sample=2, hybrid_alpha=0.7
    )
    alias = live_server.alias("r-one")
    whole_index = alias_state(alias).current
    assert whole_index is not None
    point_alias(alias, receipt.collection)
    groups = {"group_claim": ["departments"], "groups": {"Human Resources": "hr"}}
    with run_gateway(cache=CACHE, oidc=settings(issuer.url, **groups)) as address:
        yield address
    point_alias(alias, whole_index)


@pytest.fixture
def key_of(url: str) -> Callable[[Groups], str]:
    """Makes keys of the same tenant, for which nothing is kept yet."""
    tenant = f"shop-{time.monotonic_ns()}"
    engine = database.connect()
    return lambda groups: keys.create(engine, tenant, Role.ASKER, groups=groups)


def cited(completion: Any) -> set[str]:
    message = completion.choices[0].message
    uris = {note.url_citation.url for note in message.annotations}
    assert uris
    return uris


def retrieved(request_id: str) -> set[str]:
    return {passage["uri"] for passage in row_of(request_id)["retrieved"]}


def test_an_outsider_gets_nothing_of_hr_and_hr_gets_all(
    url: str, key_of: Callable[[Groups], str]
) -> None:
    outsider, sales, hr = (Client(url, key_of(groups)) for groups in ((), ("sales",), ("hr",)))
    seen: set[str] = set()
    for question in QUESTIONS:
        for asker in (outsider, sales):
            reply = asker.ask(question)
            assert cited(reply.completion) <= PUBLIC
            if reply.cache == "miss":
                assert retrieved(reply.request_id) <= PUBLIC
        seen |= cited(hr.ask(question).completion)
    assert seen & SECRET


def test_an_answer_to_hr_is_given_to_no_one_else_again(
    url: str, key_of: Callable[[Groups], str]
) -> None:
    hr = Client(url, key_of(("hr",)))
    assert [hr.cache_of(QUESTIONS[2]) for _ in range(2)] == ["miss", "hit"]
    assert Client(url, key_of(("hr",))).cache_of(QUESTIONS[2]) == "hit"
    for groups in ((), ("board",), ("board", "hr")):
        assert Client(url, key_of(groups)).cache_of(QUESTIONS[2]) == "miss"


def test_a_stream_and_a_batch_obey_too(url: str, key_of: Callable[[Groups], str]) -> None:
    questions = QUESTIONS[2:4]  # about a passage of hr
    for groups, allowed in (((), PUBLIC), (("hr",), PUBLIC | SECRET)):
        asker = OpenAI(base_url=f"{url}/v1", api_key=key_of(groups), max_retries=0)
        stream = Client(url, key_of(groups)).ask(questions[0], stream=True)
        *_, last = (chunk for chunk in stream.completion if chunk.choices)
        notes = last.choices[0].delta.model_extra["annotations"]
        uris = {note["url_citation"]["url"] for note in notes}
        batch = begin(
            asker, [chat_line(str(number), text) for number, text in enumerate(questions)]
        )
        for line in results(asker, wait_for_end(asker, batch).output_file_id):
            message = line["response"]["body"]["choices"][0]["message"]
            uris |= {note["url_citation"]["url"] for note in message["annotations"]}
        assert uris <= allowed
        assert bool(uris & SECRET) == (groups == ("hr",))


def test_only_the_groups_of_a_batch_read_its_results(
    url: str, key_of: Callable[[Groups], str]
) -> None:
    hr, board, both, outsider = (
        OpenAI(base_url=f"{url}/v1", api_key=key_of(groups), max_retries=0)
        for groups in (("hr",), ("board",), ("board", "hr"), ())
    )
    batch = wait_for_end(hr, begin(hr, [chat_line("first", QUESTIONS[2])]))
    assert results(both, batch.output_file_id) == results(hr, batch.output_file_id)
    for client_of_others in (board, outsider):
        with pytest.raises(openai.PermissionDeniedError, match="your groups may not read"):
            client_of_others.files.content(batch.output_file_id)
    public = wait_for_end(outsider, begin(outsider, [chat_line("first", QUESTIONS[2])]))
    assert results(hr, public.output_file_id)


def test_a_token_belongs_to_the_groups_that_its_claim_names(url: str, issuer: Issuer) -> None:
    ages = iter(range(60, 0, -1))  # each token is newer than the one before it

    def ask(**claims: Any) -> set[str]:
        tenant = f"lab-{time.monotonic_ns()}"
        token = issuer.token(team=tenant, iat=int(time.time()) - next(ages), **claims)
        return cited(Client(url, token).ask(QUESTIONS[2]).completion)

    assert ask(departments=["Human Resources", "Sales"]) & SECRET
    assert ask(departments="Human Resources") & SECRET
    for claims in ({}, {"departments": ["hr"]}, {"departments": {"hr": True}}):
        assert ask(**claims) <= PUBLIC
    key_id = token_owners.owner_id(issuer.url, "ada")
    assert keys.read_groups(database.connect(), key_id) == ()


def test_who_leaves_a_group_reads_no_more_of_it_in_a_batch_under_way(
    url: str, key_of: Callable[[Groups], str]
) -> None:
    key = key_of(("hr",))
    asker = OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
    engine = database.connect()
    with engine.begin() as connection:
        keys.set_groups(connection, key.split("-")[1], ())
    batch = wait_for_end(asker, begin(asker, [chat_line("first", QUESTIONS[2])]))
    (line,) = results(asker, batch.output_file_id)
    message = line["response"]["body"]["choices"][0]["message"]
    assert {note["url_citation"]["url"] for note in message["annotations"]} <= PUBLIC


def test_the_command_names_groups_to_this_clones_server_and_never_to_a_gateway(
    url: str, key_of: Callable[[Groups], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(groups: Groups) -> set[str]:
        question = client.Question(QUESTIONS[2], groups=groups)
        whole = client.ask(question)
        *_, answer = client.stream(question)
        assert isinstance(answer, client.Answer)
        assert answer.citations == whole.citations
        return {citation["uri"] for citation in answer.citations}

    assert ask(()) <= PUBLIC
    assert ask(("hr",)) & SECRET
    monkeypatch.setenv(gateway_client.URL, url)
    monkeypatch.setenv(gateway_client.KEY, key_of(()))
    with pytest.raises(UserError, match="a gateway knows the groups by the key"):
        ask(("hr",))
