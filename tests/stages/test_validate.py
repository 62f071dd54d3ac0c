from pathlib import Path
from typing import Any

import pytest

from pipelines import files
from pipelines.config.ingest import FilesSource, IngestConfig, Limits, Quality
from pipelines.config.redact import RedactConfig
from pipelines.config.validate import ValidateConfig
from pipelines.contracts.champion import Champion, ChampionFile
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS
from pipelines.contracts.report import Check, Report
from pipelines.errors import UserError
from pipelines.stages.validate import promises, run

GOOD: dict[str, Any] = {
    "title": "A page",
    "text": "This page tells how the documents are read and checked.",
    "sections": [],
    "pages": [],
    "media_type": "text/markdown",
    "source": "book",
    "content_digest": "c",
    "language": "en",
    "aliases": [],
}
CONFIG = ValidateConfig(
    min_documents=4,
    min_characters=20,
    max_characters=200,
    languages=["en"],
    min_language_share=0.8,
    max_duplicate_share=0.25,
    max_untitled_share=0.25,
    media_types=["text/markdown"],
    max_volume_change_share=0.5,
)


INGEST = IngestConfig(
    max_rejected_share=0.2,
    num_workers=1,
    limits=Limits(seconds=9, memory_mib=2048, max_document_mib=1, max_unpacked_mib=1, max_pages=9),
    quality=Quality(min_words=1, min_letter_share=0, max_repeated_line_share=1, max_replacement_share=1, max_mojibake_share=1),
    near_duplicate_similarity=0.9,
    sources=[FilesSource(kind="files", name="book", path="data/raw/book", globs=["*"])],
)

REDACT = RedactConfig(actions={"EMAIL_ADDRESS": "mask"}, min_score=0.4, allow=[], names_model=None)


@pytest.fixture(autouse=True)
def _caches_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def document(name: str, **other: Any) -> dict[str, Any]:
    """A good document of this name, other in the columns given."""
    return {**GOOD, "doc_id": name, "uri": f"book/{name}.md", "digest": name, **other}


def validated(folder: Path, documents: list[dict[str, Any]], champion: Champion | None = None, config: ValidateConfig = CONFIG, rejected: tuple[str, ...] = ()) -> Report:
    """The report that the stage writes about these documents and this champion."""
    files.write(folder / "documents.parquet", DOCUMENTS, documents)
    files.write(folder / "rejections.parquet", REJECTIONS, [{"uri": uri, "source": "book", "stage": "convert", "reason": "has no text", "digest": None} for uri in rejected])
    files.write_json(folder / "champion.json", ChampionFile(champion=champion))
    run(config, INGEST, REDACT, folder / "documents.parquet", folder / "rejections.parquet", folder / "champion.json", folder / "validation.json", folder / "docs")
    return files.read_json(folder / "validation.json", Report)


def release(num_documents: int) -> Champion:
    return Champion(model="m", prompt="p", release_id="r-1", who="a", why="b", when="2026-01-01T00:00:00Z", num_documents=num_documents, candidate="c", model_digest="d", folder="e", scores={})


def test_good_documents_pass_every_check_and_data_docs_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = validated(tmp_path, [document(name) for name in "abcd"])
    assert (report.passed, report.reason) == (True, "all 11 checks passed")
    assert (tmp_path / "docs/index.html").exists()
    assert capsys.readouterr().out == "4 documents, 0 rejected: all 11 checks passed\n"


@pytest.mark.parametrize(
    ("last", "failed"),
    [
        (document("d", doc_id="a"), Check(name="ids are unique", passed=False, observed="2 of 4 rows break it", expected="every row", num_rows=2, examples=["book/a.md", "book/d.md"])),
        (document("d", uri="book/a.md"), Check(name="uris are unique", passed=False, observed="2 of 4 rows break it", expected="every row", num_rows=2, examples=["book/a.md"])),
        (
            document("d", text="Too short here."),
            Check(name="length in characters", passed=False, observed="1 of 4 rows break it", expected="min_value 20, max_value 200", num_rows=1, examples=["book/d.md"]),
        ),
        (
            document("d", text="It is long. " * 20),
            Check(name="length in characters", passed=False, observed="1 of 4 rows break it", expected="min_value 20, max_value 200", num_rows=1, examples=["book/d.md"]),
        ),
        (
            document("d", language="de"),
            Check(name="language", passed=False, observed="1 of 4 rows break it", expected="at least 80.0% of rows", num_rows=1, examples=["book/d.md"]),
        ),
        (
            document("d", aliases=["book/e.md", "book/f.md"]),
            Check(name="near-duplicates", passed=False, observed="0.5", expected="max_value 0.25"),
        ),
        (
            document("d", text="Write to ada@lovelace.dev about it."),
            Check(name="no personal data left", passed=False, observed="1 of 4 rows break it", expected="every row", num_rows=1, examples=["book/d.md"]),
        ),
        (
            document("d", title="Of ada@lovelace.dev"),
            Check(name="no personal data left", passed=False, observed="1 of 4 rows break it", expected="every row", num_rows=1, examples=["book/d.md"]),
        ),
        (
            document("d", media_type="text/html"),
            Check(name="media type", passed=False, observed="1 of 4 rows break it", expected="value_set ['text/markdown']", num_rows=1, examples=["book/d.md"]),
        ),
    ],
)
def test_a_document_that_breaks_one_promise_fails_that_check_alone_by_name_and_number(tmp_path: Path, last: dict[str, Any], failed: Check) -> None:
    report = validated(tmp_path, [document("a"), document("b"), document("c"), last])
    assert [check for check in report.checks if not check.passed] == [failed]
    assert not report.passed


def test_an_empty_text_fails_as_empty_and_as_too_short_where_white_space_counts_for_nothing(tmp_path: Path) -> None:
    report = validated(tmp_path, [document("a"), document("b"), document("c"), document("d"), document("e", text=" \n" * 30)])
    failed = {check.name: check for check in report.checks if not check.passed}
    assert failed["text is not empty"].observed == "0"
    assert failed["length in characters"].examples == ["book/e.md"]


def test_titles_may_be_missing_up_to_the_share(tmp_path: Path) -> None:
    assert validated(tmp_path, [document("a"), document("b"), document("c"), document("d", title=None)]).passed
    report = validated(tmp_path, [document("a"), document("b"), document("c", title=None), document("d", title=None)])
    assert [(check.name, check.num_rows, check.examples) for check in report.checks if not check.passed] == [("has a title", 2, ["book/c.md", "book/d.md"])]


def test_too_few_documents_and_none_at_all_fail_and_still_leave_their_evidence(tmp_path: Path) -> None:
    few = validated(tmp_path, [document("a"), document("b"), document("c")])
    assert [(check.name, check.observed, check.expected) for check in few.checks if not check.passed] == [("number of documents", "3", "min_value 4")]
    none = validated(tmp_path, [])
    assert not none.passed
    assert none.checks[0] == Check(name="number of documents", passed=False, observed="0", expected="min_value 4")


@pytest.mark.parametrize(("before", "names", "passed"), [(10, "abcde", True), (11, "abcde", False), (4, "abcdef", True), (4, "abcdefg", False)])
def test_after_a_release_the_number_of_documents_may_change_by_the_share_alone(tmp_path: Path, before: int, names: str, passed: bool) -> None:
    config = CONFIG.model_copy(update={"min_documents": 1})
    report = validated(tmp_path, [document(name) for name in names], release(before), config)
    assert [check.name for check in report.checks if not check.passed] == ([] if passed else ["number of documents"])


def test_the_champions_number_counts_and_min_documents_stays_the_least() -> None:
    counted = promises(CONFIG, release(20))[0]
    assert counted.arguments == {"min_value": 10, "max_value": 30}
    assert promises(CONFIG, release(6))[0].arguments == {"min_value": 4, "max_value": 9}


def test_bounds_that_no_number_of_documents_keeps_fail_the_check_and_say_so(tmp_path: Path) -> None:
    report = validated(tmp_path, [document(name) for name in "abcd"], release(2))
    (failed,) = [check for check in report.checks if not check.passed]
    assert (failed.name, failed.expected) == ("number of documents", "min_value 4, max_value 3")
    assert "min_value (4) must be less than or equal to max_value (3)" in failed.observed


def test_a_missing_champion_file_is_told_with_the_command_that_brings_it_back(tmp_path: Path) -> None:
    files.write(tmp_path / "documents.parquet", DOCUMENTS, [document("a")])
    files.write(tmp_path / "rejections.parquet", REJECTIONS, [])
    with pytest.raises(UserError, match=r"champion\.json is missing: `git checkout .+` or `python -m pipelines champion` brings it back"):
        run(CONFIG, INGEST, REDACT, tmp_path / "documents.parquet", tmp_path / "rejections.parquet", tmp_path / "champion.json", tmp_path / "validation.json", tmp_path / "docs")


def test_rejected_documents_fail_their_check_by_name_and_are_in_the_data_docs_with_their_reasons(tmp_path: Path) -> None:
    report = validated(tmp_path, [document(name) for name in "abcd"], rejected=("book/x.pdf", "book/y.pdf"))
    assert [check for check in report.checks if not check.passed] == [
        Check(name="documents rejected", passed=False, observed="2 of 6 rows break it", expected="at least 80.0% of rows", num_rows=2, examples=["book/x.pdf", "book/y.pdf"])
    ]
    shown = "".join(path.read_text() for path in (tmp_path / "docs").rglob("*.html"))
    assert "book/x.pdf" in shown
    assert "convert: has no text" in shown


def test_as_many_rejections_as_allowed_pass(tmp_path: Path) -> None:
    assert validated(tmp_path, [document(name) for name in "abcd"], rejected=("book/x.pdf",)).passed
