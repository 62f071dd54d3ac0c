from pathlib import Path
from typing import Any

import pytest

from pipelines import files
from pipelines.config.ingest import FilesSource, IngestConfig, Limits, Quality
from pipelines.config.redact import RedactConfig
from pipelines.config.validate import ValidateConfig
from pipelines.contracts.champion import Champion, ChampionFile
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS
from pipelines.contracts.left_out import LEFT_OUT
from pipelines.contracts.report import Check, CheckCode, Report
from pipelines.errors import UserError
from pipelines.stages import validate
from pipelines.stages.validate import list_promises

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
    "readers": ["everyone"],
}
VALIDATE = ValidateConfig(
    min_documents=4,
    min_median_characters=20,
    languages=["en"],
    min_language_share=0.8,
    max_duplicate_share=0.25,
    max_untitled_share=0.25,
    max_left_out_share=0.5,
    media_types=["text/markdown"],
    max_volume_change_share=0.5,
)
INGEST = IngestConfig(
    max_rejected_share=0.2,
    num_workers=1,
    limits=Limits(seconds=9, memory_mib=2048, max_document_mib=1, max_unpacked_mib=1, max_pages=9),
    quality=Quality(
        min_words=1,
        min_letter_share=0,
        max_repeated_line_share=1,
        max_replacement_share=1,
        max_mojibake_share=1,
    ),
    near_duplicate_similarity=0.9,
    sources=[FilesSource(kind="files", name="book", path="data/raw/book", globs=["*"])],
)
REDACT = RedactConfig(actions={"EMAIL_ADDRESS": "mask"}, min_score=0.4, allow=[], names_model=None)
CONFIG = validate.Config(validate=VALIDATE, ingest=INGEST, redact=REDACT)
INPUTS = validate.Inputs(
    documents=Path("documents.parquet"),
    rejections=Path("rejections.parquet"),
    left_out=Path("left_out.parquet"),
    champion=Path("champion.json"),
)
OUTPUTS = validate.Outputs(validation=Path("validation.json"), validation_docs=Path("docs"))


@pytest.fixture(autouse=True)
def _folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def document(name: str, **changes: Any) -> dict[str, Any]:
    """A good document of this name, with changes."""
    return {**GOOD, "doc_id": name, "uri": f"book/{name}.md", "digest": name, **changes}


def rejection(uri: str) -> dict[str, Any]:
    return {
        "uri": uri,
        "source": "book",
        "stage": "convert",
        "reason": "has no text",
        "digest": None,
    }


def champion_of(num_documents: int) -> Champion:
    """A champion that was trained when there were so many documents."""
    return Champion(
        model="m",
        prompt="p",
        release_id="r-1",
        who="a",
        why="b",
        when="2026-01-01T00:00:00Z",
        num_documents=num_documents,
        candidate="c",
        model_digest="d",
        folder="e",
        scores={},
    )


def run_stage(
    documents: list[dict[str, Any]],
    champion: Champion | None = None,
    config: validate.Config = CONFIG,
    rejected_uris: tuple[str, ...] = (),
    left_out: tuple[dict[str, Any], ...] = (),
) -> Report:
    """The report that the stage writes about these documents and this champion."""
    files.write(INPUTS.documents, DOCUMENTS, documents)
    files.write(INPUTS.rejections, REJECTIONS, map(rejection, rejected_uris))
    files.write(INPUTS.left_out, LEFT_OUT, left_out)
    files.write_json(INPUTS.champion, ChampionFile(champion=champion))
    validate.run(config, INPUTS, OUTPUTS)
    return files.read_json(OUTPUTS.validation, Report)


def broken_by(name: str, num_rows: int, expected: str, *examples: str) -> Check:
    """A failed check of four documents."""
    return Check(
        name=name,
        passed=False,
        observed=f"{num_rows} of 4 rows break it",
        expected=expected,
        num_rows=num_rows,
        examples=list(examples),
    )


def test_good_documents_pass_every_check_and_data_docs_are_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = run_stage([document(name) for name in "abcd"])
    assert (report.passed, report.reason) == (True, "all 12 checks passed")
    assert (OUTPUTS.validation_docs / "index.html").exists()
    note, result = capsys.readouterr().out.splitlines()
    assert note.startswith("the data docs need a network to be read:")  # no set-up was run here
    assert note.endswith("run `make setup`")
    assert result == "4 documents, 0 rejected: all 12 checks passed"


@pytest.mark.parametrize(
    ("last_document", "failure"),
    [
        (
            document("d", doc_id="a"),
            broken_by("ids are unique", 2, "every row", "book/a.md", "book/d.md"),
        ),
        (
            document("d", uri="book/a.md"),
            broken_by("uris are unique", 2, "every row", "book/a.md"),
        ),
        (
            document("d", language="de"),
            broken_by("language", 1, "at least 80.0% of rows", "book/d.md"),
        ),
        (
            document("d", aliases=["book/e.md", "book/f.md"]),
            Check(name="near-duplicates", passed=False, observed="0.5", expected="max_value 0.25"),
        ),
        (
            document("d", text="Write to ada@lovelace.dev about it."),
            broken_by("no personal data left", 1, "every row", "book/d.md"),
        ),
        (
            document("d", title="Of ada@lovelace.dev"),
            broken_by("no personal data left", 1, "every row", "book/d.md"),
        ),
        (
            document("d", media_type="text/html"),
            broken_by("media type", 1, "value_set ['text/markdown']", "book/d.md"),
        ),
    ],
)
def test_a_document_that_breaks_one_promise_fails_that_check_alone(
    last_document: dict[str, Any], failure: Check
) -> None:
    report = run_stage([document("a"), document("b"), document("c"), last_document])
    assert report.failures() == [failure]
    assert not report.passed


def left_out_of(uri: str, kind: str, num_kept: int, num_left_out: int) -> dict[str, Any]:
    return {
        "uri": uri,
        "source": "book",
        "num_kept": num_kept,
        "kind": kind,
        "num_left_out": num_left_out,
    }


def test_a_reader_that_leaves_out_most_of_many_documents_fails_and_a_large_picture_does_not() -> (
    None
):
    documents = [document(name) for name in "abcd"]
    lost = left_out_of("book/b.md", "navigation", 100, 900)
    report = run_stage(documents, left_out=(lost,))
    (failure,) = report.failures()
    assert (failure.name, failure.examples) == ("text left out while reading", ["book/b.md"])
    picture = left_out_of("book/b.md", "pictures", 100, 900_000)
    assert run_stage(documents, left_out=(picture,)).passed


def test_an_empty_text_fails() -> None:
    good_documents = [document(name) for name in "abcd"]
    report = run_stage([*good_documents, document("e", text=" \n" * 30)])
    failures = {check.name: check for check in report.failures()}
    assert failures["text is not empty"].observed == "0"


def test_one_very_long_and_one_very_short_document_stop_nothing() -> None:
    long_document = document("d", text="The documents are read and checked. " * 20_000)
    short_document = document("e", text="Too short here.")
    good_documents = [document(name) for name in "abc"]
    assert run_stage([*good_documents, long_document, short_document]).passed


def test_half_of_the_documents_being_short_fails() -> None:
    short_documents = [document(name, text=f"Too short {name}.") for name in "abc"]
    report = run_stage([*short_documents, document("d"), document("e")])
    (failure,) = report.failures()
    assert failure == Check(
        name="median length in characters",
        passed=False,
        observed="12.0",
        expected="min_value 20",
    )


def test_titles_may_be_missing_up_to_the_share() -> None:
    with_titles = [document("a"), document("b"), document("c")]
    assert run_stage([*with_titles, document("d", title=None)]).passed
    without_title = [document("c", title=None), document("d", title=None)]
    report = run_stage([document("a"), document("b"), *without_title])
    (failure,) = report.failures()
    assert (failure.name, failure.num_rows) == ("has a title", 2)
    assert failure.examples == ["book/c.md", "book/d.md"]


def test_too_few_documents_and_none_at_all_fail_and_still_leave_their_evidence() -> None:
    (failure,) = run_stage([document("a"), document("b"), document("c")]).failures()
    assert failure == Check(
        name="number of documents",
        passed=False,
        observed="3",
        expected="min_value 4",
        code=CheckCode.NUM_DOCUMENTS,
    )
    report = run_stage([])
    assert not report.passed
    assert report.checks[0] == failure.model_copy(update={"observed": "0"})


@pytest.mark.parametrize(
    ("num_before", "names", "failures"),
    [
        (10, "abcde", []),
        (11, "abcde", ["number of documents"]),
        (4, "abcdef", []),
        (4, "abcdefg", ["number of documents"]),
    ],
)
def test_after_a_release_the_number_of_documents_may_change_by_the_share_alone(
    num_before: int, names: str, failures: list[str]
) -> None:
    settings = VALIDATE.model_copy(update={"min_documents": 1})
    config = validate.Config(validate=settings, ingest=INGEST, redact=REDACT)
    documents = [document(name) for name in names]
    report = run_stage(documents, champion_of(num_before), config)
    assert [check.name for check in report.failures()] == failures


def test_the_champions_number_counts_and_min_documents_stays_the_minimum() -> None:
    many, *_ = list_promises(VALIDATE, champion_of(20))
    assert many.arguments == {"min_value": 10, "max_value": 30}
    few, *_ = list_promises(VALIDATE, champion_of(6))
    assert few.arguments == {"min_value": 4, "max_value": 9}


def test_bounds_that_no_number_of_documents_satisfies_fail_the_check_and_say_so() -> None:
    report = run_stage([document(name) for name in "abcd"], champion_of(2))
    (failure,) = report.failures()
    assert failure.name == "number of documents"
    assert failure.expected == "min_value 4, max_value 3"
    assert "min_value (4) must be less than or equal to max_value (3)" in failure.observed


def test_a_missing_champion_file_is_an_error_with_the_command_that_brings_it_back() -> None:
    files.write(INPUTS.documents, DOCUMENTS, [document("a")])
    files.write(INPUTS.rejections, REJECTIONS, [])
    files.write(INPUTS.left_out, LEFT_OUT, [])
    problem = (
        r"champion\.json is missing: `git checkout .+` or `python -m pipelines champion` "
        "brings it back"
    )
    with pytest.raises(UserError, match=problem):
        validate.run(CONFIG, INPUTS, OUTPUTS)


def test_rejected_documents_fail_their_check_and_are_in_the_data_docs_with_their_reasons() -> None:
    report = run_stage(
        [document(name) for name in "abcd"], rejected_uris=("book/x.pdf", "book/y.pdf")
    )
    failure = Check(
        name="documents rejected",
        passed=False,
        observed="2 of 6 rows break it",
        expected="at least 80.0% of rows",
        num_rows=2,
        examples=["book/x.pdf", "book/y.pdf"],
    )
    assert report.failures() == [failure]
    pages = "".join(path.read_text() for path in OUTPUTS.validation_docs.rglob("*.html"))
    assert "book/x.pdf" in pages
    assert "convert: has no text" in pages


def test_as_many_rejections_as_allowed_pass() -> None:
    documents = [document(name) for name in "abcd"]
    assert run_stage(documents, rejected_uris=("book/x.pdf",)).passed
