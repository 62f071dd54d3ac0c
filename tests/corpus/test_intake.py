from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import files, workcache
from pipelines.config.ingest import IngestConfig, Limits, PackagesSource, Quality
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS
from pipelines.corpus import intake
from pipelines.corpus.sources import Found
from pipelines.workcache import Cache

CONFIG = IngestConfig(
    max_rejected_share=1,
    num_workers=2,
    limits=Limits(seconds=20, memory_mib=2048, max_document_mib=8, max_unpacked_mib=64, max_pages=500),
    quality=Quality(min_words=2, min_letter_share=0.3, max_repeated_line_share=0.5, max_replacement_share=0.01, max_mojibake_share=0.02),
    near_duplicate_similarity=0.8,
    sources=[PackagesSource(kind="python_packages", name="packages", packages=["pydantic"])],
)
PROSE = (
    "Peel the potatoes, cut them into pieces of the same size and put them into cold water with a little salt. Boil them until a fork goes in without force, pour the water off and let them steam. "
)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with workcache.opened(tmp_path / "work.sqlite", intake.kind(CONFIG)) as opened:
        yield opened


def found(contents: dict[str, bytes]) -> Iterator[tuple[str, Found]]:
    return (("book", Found(f"book/{name}", content)) for name, content in contents.items())


def reasons(taken: intake.Intake) -> dict[str, tuple[str, str]]:
    return {row["uri"]: (row["stage"], row["reason"]) for row in taken.rejections}


def test_what_was_read_before_is_not_read_again_and_gives_the_same_rows(cache: Cache) -> None:
    first = intake.take_in(found({"a.md": b"# A\n\nOne two.", "b.md": b"# B\n\nThree.", "bad.md": b""}), CONFIG, cache)
    rows = list(intake.documents(first, cache))
    again = intake.take_in(found({"a.md": b"# A\n\nOne two.", "b.md": b"# B\n\nThree.", "bad.md": b""}), CONFIG, cache)
    assert (first.num_read, again.num_read) == (3, 0)
    assert list(intake.documents(again, cache)) == rows
    assert again.rejections == first.rejections != []


def test_one_changed_document_is_read_alone_and_a_moved_one_not_at_all(cache: Cache) -> None:
    intake.take_in(found({"a.md": b"# A\n\nOne two.", "b.md": b"# B\n\nThree."}), CONFIG, cache)
    taken = intake.take_in(found({"deep/a.md": b"# A\n\nOne two.", "b.md": b"# B\n\nFour."}), CONFIG, cache)
    assert taken.num_read == 1
    assert {row["uri"]: row["text"] for row in intake.documents(taken, cache)} == {"book/deep/a.md": "# A\n\nOne two.\n", "book/b.md": "# B\n\nFour.\n"}


def test_another_limit_reads_anew(tmp_path: Path) -> None:
    other = CONFIG.model_copy(update={"limits": CONFIG.limits.model_copy(update={"max_pages": 3})})
    assert intake.kind(other) != intake.kind(CONFIG)
    assert intake.kind(CONFIG.model_copy(update={"num_workers": 7})) == intake.kind(CONFIG)


def test_rows_keep_the_contract_and_come_sorted_by_id(cache: Cache, tmp_path: Path) -> None:
    taken = intake.take_in(found({f"{number}.md": f"# Page {number}\n\nWord{number} word.".encode() for number in range(9)}), CONFIG, cache)
    assert files.write(tmp_path / "documents.parquet", DOCUMENTS, intake.documents(taken, cache)) == 9
    rows = list(files.read(tmp_path / "documents.parquet", DOCUMENTS))
    assert [row["doc_id"] for row in rows] == sorted(row["doc_id"] for row in rows)
    assert rows[0]["content_digest"] == intake.content_digest(rows[0]["text"].strip().encode())


def test_near_duplicates_are_aliases_of_the_first_uri_and_others_stay(cache: Cache) -> None:
    contents = {
        "b.md": PROSE * 3 + "The end.",
        "a.md": PROSE * 3 + "An end.",
        "c.md": PROSE * 3 + "The end.",
        "other.md": "Knead the dough for ten minutes, let it rest and bake it until the crust is brown.",
    }
    taken = intake.take_in(found({name: text.encode() for name, text in contents.items()}), CONFIG, cache)
    assert {row["uri"]: row["aliases"] for row in intake.documents(taken, cache)} == {"book/a.md": ["book/b.md", "book/c.md"], "book/other.md": []}
    assert taken.rejections == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("word", r"has 1 words, fewer than ingest\.quality\.min_words \(2\)"),
        ("1 2 3 4 5 6 7 8 9 " * 20, r"0\.0% of its characters are letters, less than ingest\.quality\.min_letter_share \(30\.0%\)"),
        ("All rights reserved by their owners.\n" * 9 + "New text.", r"\d+\.\d% of its characters are in lines that occurred before, more than"),
        ("It was r\ufffdd\ufffd in part. " * 9, r"\d+\.\d% of its characters are replacement characters"),
        (("Schöne Grüße für Gäste. " * 9).encode().decode("cp1252"), r"\d+\.\d% of its characters look wrongly decoded"),
    ],
)
def test_a_text_that_breaks_a_rule_is_a_rejection_with_value_and_bound(cache: Cache, text: str, reason: str) -> None:
    import re

    taken = intake.take_in(found({"bad.txt": text.encode(), "good.txt": PROSE.encode()}), CONFIG, cache)
    (row,) = taken.rejections
    assert (row["uri"], row["stage"]) == ("book/bad.txt", "quality")
    assert re.match(reason, row["reason"]), row["reason"]
    assert [entry.uri for entry in taken.kept] == ["book/good.txt"]


def test_a_document_that_its_source_could_not_give_is_a_rejection_without_digest(cache: Cache, tmp_path: Path) -> None:
    taken = intake.take_in([("book", Found("book/x", b"", problem="too large")), *found({"good.txt": PROSE.encode()})], CONFIG, cache)
    assert taken.rejections == [{"uri": "book/x", "source": "book", "stage": "source", "reason": "too large", "digest": None}]
    assert files.write(tmp_path / "rejections.parquet", REJECTIONS, taken.rejections) == 1
