import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipelines import files, pii
from pipelines.config.redact import Action, RedactConfig
from pipelines.contracts.documents import DOCUMENTS
from pipelines.stages.redact import run


def document(name: str, text: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "doc_id": name,
        "uri": f"book/{name}",
        "title": "T",
        "text": text,
        "sections": [],
        "pages": [],
        "media_type": "text/plain",
        "source": "book",
        "digest": files.text_digest(text),
    }
    return row | {"content_digest": "c", "language": "en", "aliases": []}


def redacted(actions: dict[str, Action], *documents: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows and the report that the stage writes in the current folder."""
    files.write(Path("converted.parquet"), DOCUMENTS, documents)
    run(RedactConfig(actions=actions, min_score=0.4, allow=[], names_model=None), Path("converted.parquet"), Path("documents.parquet"), Path("redaction.json"))
    return list(files.read(Path("documents.parquet"), DOCUMENTS)), json.loads(Path("redaction.json").read_text())


def test_personal_data_goes_and_the_report_has_counts_and_no_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows, report = redacted({"EMAIL_ADDRESS": "mask", "US_SSN": "remove"}, document("a", "Mail ada@lovelace.dev, SSN 219-09-9998."), document("b", "Nothing."))
    assert [row["text"] for row in rows] == ["Mail [EMAIL_ADDRESS 1], SSN .", "Nothing."]
    assert [row["digest"] for row in rows] == [files.text_digest(row["text"]) for row in rows]
    assert report == {
        "documents_changed": 1,  "by_type": {"EMAIL_ADDRESS": 1, "US_SSN": 1}, "by_source": {"book": {"EMAIL_ADDRESS": 1, "US_SSN": 1}}, "actions": {"EMAIL_ADDRESS": "mask", "US_SSN": "remove"},
    }  # fmt: skip
    assert "lovelace" not in Path("redaction.json").read_text()


def test_only_changed_documents_are_looked_at_again_and_other_settings_look_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    first = redacted({"EMAIL_ADDRESS": "mask"}, document("a", "Mail a@x.org."), document("b", "Mail b@x.org."))
    second = redacted({"EMAIL_ADDRESS": "mask"}, document("a", "Mail a@x.org."), document("b", "Mail c@x.org."))
    third = redacted({"EMAIL_ADDRESS": "remove"}, document("a", "Mail a@x.org."), document("b", "Mail c@x.org."))
    assert re.findall(r"\((\d) documents looked at", capsys.readouterr().out) == ["2", "1", "2"]
    assert first[1] == second[1] != third[1]
    assert [row["text"] for row in third[0]] == ["Mail .", "Mail ."]


def test_documents_come_in_their_order_however_many_of_them_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["a", "b", "c", "d", "e"]
    rows, _ = redacted({"EMAIL_ADDRESS": "mask"}, *(document(name, f"{name}: mail {name}@x.org." if name in "bde" else f"{name}: nothing.") for name in names))
    assert [(row["uri"], row["text"]) for row in rows] == [
        ("book/a", "a: nothing."), ("book/b", "b: mail [EMAIL_ADDRESS 1]."), ("book/c", "c: nothing."), ("book/d", "d: mail [EMAIL_ADDRESS 1]."), ("book/e", "e: mail [EMAIL_ADDRESS 1]."),
    ]  # fmt: skip


def test_types_that_are_kept_leave_every_byte_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    redacted({"EMAIL_ADDRESS": "keep"}, document("a", "Mail a@x.org."))
    assert files.digest(Path("documents.parquet")) == files.digest(Path("converted.parquet"))


def test_another_secret_hashes_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = []
    for secret in ("the first secret of all", "the second secret of all", "the first secret of all"):
        monkeypatch.setenv(pii.KEY_VARIABLE, secret)
        rows, _ = redacted({"EMAIL_ADDRESS": "hash"}, document("a", "Mail a@x.org."))
        found.append(rows[0]["text"])
    assert found[0] == found[2] != found[1]
