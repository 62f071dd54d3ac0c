"""`draft` on a small index, with an endpoint that answers by rules over the prompt."""

import argparse
import json
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipelines import files
from pipelines.adoption import params_text
from pipelines.commands import draft
from pipelines.config import params
from pipelines.config.index import IndexConfig
from pipelines.config.ingest import IngestConfig
from pipelines.drafting import drafts
from pipelines.errors import UserError
from pipelines.questions import document_questions
from pipelines.stages import index
from tests import knowledge

ROOT = Path(__file__).parents[2]
NAMES = ("alpha", "beta", "gamma", "delta", "omega", "sigma", "kappa", "lambda")
REFUSAL = "I cannot find that in the documents."


def answer(messages: list[dict[str, str]]) -> str:
    """What a careful teacher says: proposals about a passage, or an answer from the passages."""
    text = messages[-1]["content"]
    if "Now about this passage:" in text:
        passage = text.rpartition("Now about this passage:")[2]
        match = re.search(r"The (\w+) pump runs for (\d+ hours)", passage)
        assert match
        name, hours = match[1], match[2]
        if "does NOT answer" in messages[0]["content"]:
            return f"Question: Who is the maker of the {name} pump?"
        return (
            f"Question: How long does the {name} pump run?\nAnswer: {hours}\n"
            f"Question: What colour has the {name} pump?\nAnswer: bright red"
        )
    passages, _, question = text.partition("Question:")
    wanted = re.search(r"How long does the (\w+) pump", question)
    if wanted:
        match = re.search(rf"The {wanted[1]} pump runs for (\d+ hours)", passages)
        if match:
            return match[1]
    return REFUSAL


@pytest.fixture
def teacher() -> Iterator[str]:
    """The URL of an OpenAI-compatible endpoint."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            content = {"choices": [{"message": {"content": answer(body["messages"])}}]}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture
def workspace(clone: Path, teacher: str) -> Path:
    """A clone with an index of eight documents, whose `draft.url` is the teacher."""
    shutil.copytree(ROOT / "data/prompts", "data/prompts")
    for folder in ("data/faq", "data/golden", "data/raw/book"):
        Path(folder).mkdir(parents=True)
    text = (ROOT / "params.yaml").read_text()
    text = params_text.replace_value(text, "draft.url", teacher)
    text = params_text.replace_value(text, "draft.model", "rules")
    text = params_text.replace_value(text, "examples.template", "grounded-chat-v1")
    Path("params.yaml").write_text(text)
    for number, name in enumerate(NAMES):
        Path(f"data/raw/book/{name}.md").write_text(
            f"# The {name} pump\n\nThe {name} pump runs for {number + 3} hours. It is bright and "
            f"stands beside the {name} tank, where the staff of the {name} hall look after it "
            "every morning before the shift begins and once more when it ends.\n"
        )
    values = params.load()
    sources = values.section(IngestConfig).model_copy(update={"sources": [knowledge.BOOK]})
    knowledge.build_vectors(values, sources)
    inputs = index.Inputs(
        chunks=knowledge.ARTIFACTS["chunks"], vectors=knowledge.ARTIFACTS["vectors"]
    )
    index.run(values.section(IndexConfig), inputs, index.Outputs(index=Path("data/index.json")))
    return clone


def call(**options: Any) -> None:
    names = ("num", "page", "review", "who", "decision", "id", "question", "answer", "why")
    defaults = dict.fromkeys(names) | {"num": 40, "review": False, "id": [], "why": ""}
    draft.run(argparse.Namespace(**defaults | options))


def test_drafts_pass_a_round_trip_and_become_questions_when_a_person_accepts_them(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(num=40)
    output = capsys.readouterr().out
    waiting = drafts.waiting()
    answerable = [item for item in waiting if item.answer is not None]
    unanswerable = [item for item in waiting if item.answer is None]
    assert len(waiting) == len(NAMES)
    assert answerable
    assert unanswerable
    assert f"{len(waiting)} drafts passed the round trip" in output
    assert f"{len(answerable)} the answer does not stand in the passage word for word" in output
    assert all("pump runs for" in (item.evidence or "") for item in answerable)
    page = Path("data/reports/drafts.html").read_text()
    assert page.count("<mark>") == len(answerable)
    assert page.count("<b>waits</b>") == len(waiting)

    call(num=40)
    assert "0 drafts passed" in capsys.readouterr().out  # each passage is asked about once
    assert len(drafts.read()) == len(waiting)

    first = answerable[0]
    call(review=True, who="ada", decision="reject", id=[first.id], why="too easy")
    call(review=True, who="ada", decision="accept", id=["all"])
    reading = document_questions.load(Path("data/qa"))
    questions = [*reading.training, *reading.golden]
    assert len(questions) == len(waiting) - 1
    assert first.question not in {item.question for item in questions}
    assert not {item.page for item in reading.training} & {item.page for item in reading.golden}
    assert drafts.waiting() == []
    assert [item.who for item in drafts.read_decisions()] == ["ada"] * len(waiting)


def test_a_review_names_its_reviewer_and_a_draft_that_waits(workspace: Path) -> None:
    call(num=1, page="book/alpha.md")
    (item,) = drafts.waiting()
    assert item.page == "book/alpha.md"
    with pytest.raises(UserError, match="--who is missing"):
        call(review=True)
    with pytest.raises(UserError, match="no draft with this id waits"):
        call(review=True, who="ada", decision="accept", id=["nothing"])
    with pytest.raises(UserError, match="there is no terminal"):
        call(review=True, who="ada")
    with pytest.raises(UserError, match="is no document of the index"):
        call(page="book/missing.md")
    assert files.digest(drafts.DRAFTS)
    assert not drafts.DECISIONS.exists()
