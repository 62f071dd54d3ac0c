import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipelines import files
from pipelines.config.engine import EngineConfig
from pipelines.config.redact import Action, RedactConfig
from pipelines.contracts.documents import DOCUMENTS
from pipelines.contracts.redactions import REDACTIONS
from pipelines.corpus import pii
from pipelines.stages import redact

INPUTS = redact.Inputs(Path("converted.parquet"))
OUTPUTS = redact.Outputs(
    documents=Path("documents.parquet"),
    redactions=Path("redactions.parquet"),
    redaction=Path("redaction.json"),
)


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def document(name: str, text: str) -> dict[str, Any]:
    return {
        "doc_id": name,
        "uri": f"book/{name}",
        "title": "T",
        "text": text,
        "sections": [],
        "pages": [],
        "media_type": "text/plain",
        "source": "book",
        "digest": files.text_digest(text),
        "content_digest": "c",
        "language": "en",
        "aliases": [],
        "readers": ["everyone"],
    }


def run_stage(
    actions: dict[str, Action], *documents: dict[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows and the report that the stage writes in the current folder."""
    files.write(INPUTS.converted, DOCUMENTS, documents)
    settings = RedactConfig(actions=actions, min_score=0.4, allow=[], names_model=None)
    config = redact.Config(redact=settings, engine=EngineConfig(kind="local"))
    redact.run(config, INPUTS, OUTPUTS)
    rows = list(files.read(OUTPUTS.documents, DOCUMENTS))
    return rows, json.loads(OUTPUTS.redaction.read_text())


def test_personal_data_is_replaced_and_the_report_has_counts_and_no_value() -> None:
    rows, report = run_stage(
        {"EMAIL_ADDRESS": "mask", "US_SSN": "remove"},
        document("a", "Mail ada@lovelace.dev, SSN 219-09-9998."),
        document("b", "Nothing."),
    )
    assert [row["text"] for row in rows] == ["Mail [EMAIL_ADDRESS 1], SSN .", "Nothing."]
    assert [row["digest"] for row in rows] == [files.text_digest(row["text"]) for row in rows]
    assert report == {
        "documents_changed": 1,
        "by_type": {"EMAIL_ADDRESS": 1, "US_SSN": 1},
        "by_source": {"book": {"EMAIL_ADDRESS": 1, "US_SSN": 1}},
        "actions": {"EMAIL_ADDRESS": "mask", "US_SSN": "remove"},
    }
    assert "lovelace" not in OUTPUTS.redaction.read_text()


def test_each_replacement_is_listed_with_its_place_and_reason_and_without_its_value() -> None:
    text = "# Contacts\n\n| Reception | phone: 60-56-85-91 |\n| Host | 84.17.61.18 |\n"
    run_stage({"PHONE_NUMBER": "mask", "IP_ADDRESS": "remove"}, document("a", text))
    assert list(files.read(OUTPUTS.redactions, REDACTIONS)) == [
        {
            "uri": "book/a",
            "source": "book",
            "type": "PHONE_NUMBER",
            "part": "text",
            "line": 3,
            "before": "# Contacts\n\n| Reception | phone: ",
            "replacement": "[PHONE_NUMBER 1]",
            "after": " |\n| Host |  |\n",
            "why": "PhoneForms: beside 'phone'",
        },
        {
            "uri": "book/a",
            "source": "book",
            "type": "IP_ADDRESS",
            "part": "text",
            "line": 4,
            "before": "| Reception | phone: [PHONE_NUMBER 1] |\n| Host | "[-40:],
            "replacement": "",
            "after": " |\n",
            "why": "IpRecognizer: IPv4",
        },
    ]


def test_only_changed_documents_are_searched_again_and_with_other_settings_all_of_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    a = document("a", "Mail a@x.org.")
    b = document("b", "Mail b@x.org.")
    changed_b = document("b", "Mail c@x.org.")
    _, first_report = run_stage({"EMAIL_ADDRESS": "mask"}, a, b)
    _, second_report = run_stage({"EMAIL_ADDRESS": "mask"}, a, changed_b)
    rows, third_report = run_stage({"EMAIL_ADDRESS": "remove"}, a, changed_b)
    assert re.findall(r"\((\d) documents looked at", capsys.readouterr().out) == ["2", "1", "2"]
    assert first_report == second_report != third_report
    assert [row["text"] for row in rows] == ["Mail .", "Mail ."]


def test_documents_stay_in_order_however_many_of_them_change() -> None:
    rows, _ = run_stage(
        {"EMAIL_ADDRESS": "mask"},
        document("a", "a: nothing."),
        document("b", "b: mail b@x.org."),
        document("c", "c: nothing."),
        document("d", "d: mail d@x.org."),
        document("e", "e: mail e@x.org."),
    )
    assert [row["uri"] for row in rows] == ["book/a", "book/b", "book/c", "book/d", "book/e"]
    assert [row["text"] for row in rows] == [
        "a: nothing.",
        "b: mail [EMAIL_ADDRESS 1].",
        "c: nothing.",
        "d: mail [EMAIL_ADDRESS 1].",
        "e: mail [EMAIL_ADDRESS 1].",
    ]


def test_types_that_are_kept_leave_every_byte_as_it_was() -> None:
    run_stage({"EMAIL_ADDRESS": "keep"}, document("a", "Mail a@x.org."))
    assert files.digest(OUTPUTS.documents) == files.digest(INPUTS.converted)


def test_another_secret_gives_another_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = []
    for secret in (
        "the first secret of all",
        "the second secret of all",
        "the first secret of all",
    ):
        monkeypatch.setenv(pii.KEY_VARIABLE, secret)
        rows, _ = run_stage({"EMAIL_ADDRESS": "hash"}, document("a", "Mail a@x.org."))
        texts.append(rows[0]["text"])
    assert texts[0] == texts[2] != texts[1]
