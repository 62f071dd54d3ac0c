import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import files
from pipelines.config.ingest import FilesSource, IngestConfig, Limits, PackagesSource, Quality
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS
from pipelines.corpus import intake
from pipelines.corpus.reading_code import CODE
from pipelines.corpus.sources import SourceDocument
from pipelines.system import dependencies
from pipelines.system.cache import Cache, open_cache

CONFIG = IngestConfig(
    max_rejected_share=1,
    num_workers=2,
    limits=Limits(
        seconds=20, memory_mib=2048, max_document_mib=8, max_unpacked_mib=64, max_pages=500
    ),
    quality=Quality(
        min_words=2,
        min_letter_share=0.3,
        max_repeated_line_share=0.5,
        max_replacement_share=0.01,
        max_mojibake_share=0.02,
    ),
    near_duplicate_similarity=0.8,
    sources=[PackagesSource(kind="python_packages", name="packages", packages=["pydantic"])],
)
PROSE = (
    "Peel the potatoes, cut them into pieces of the same size and put them into cold water with a "
    "little salt. Boil them until a fork goes in without force, pour the water off and let them "
    "steam. "
)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache[object]]:
    with open_cache(tmp_path / "work.sqlite", intake.cache_kind(CONFIG)) as connection:
        yield connection


def book(contents: dict[str, str]) -> Iterator[tuple[str, SourceDocument]]:
    """The documents of a source `book`, by file name."""
    for name, text in contents.items():
        yield "book", SourceDocument(f"book/{name}", text.encode())


def test_what_was_read_before_is_not_read_again_and_gives_the_same_rows(
    cache: Cache[object],
) -> None:
    contents = {"a.md": "# A\n\nOne two.", "b.md": "# B\n\nThree.", "bad.md": ""}
    first = intake.take_in(book(contents), CONFIG, cache)
    rows = list(intake.document_rows(first, cache))
    again = intake.take_in(book(contents), CONFIG, cache)
    assert (first.num_read, again.num_read) == (3, 0)
    assert list(intake.document_rows(again, cache)) == rows
    assert again.rejections == first.rejections != []


def test_only_a_changed_document_is_read_again_and_a_moved_one_is_not(
    cache: Cache[object],
) -> None:
    before = {"a.md": "# A\n\nOne two.", "b.md": "# B\n\nThree."}
    after = {"deep/a.md": "# A\n\nOne two.", "b.md": "# B\n\nFour."}
    intake.take_in(book(before), CONFIG, cache)
    result = intake.take_in(book(after), CONFIG, cache)
    assert result.num_read == 1
    assert {row["uri"]: row["text"] for row in intake.document_rows(result, cache)} == {
        "book/deep/a.md": "# A\n\nOne two.\n",
        "book/b.md": "# B\n\nFour.\n",
    }


def test_another_limit_reads_again_and_another_number_of_workers_does_not() -> None:
    limits = CONFIG.limits.model_copy(update={"max_pages": 3})
    other_limits = CONFIG.model_copy(update={"limits": limits})
    other_workers = CONFIG.model_copy(update={"num_workers": 7})
    assert intake.cache_kind(other_limits) != intake.cache_kind(CONFIG)
    assert intake.cache_kind(other_workers) == intake.cache_kind(CONFIG)


def test_rows_keep_the_contract_and_come_sorted_by_id(cache: Cache[object], tmp_path: Path) -> None:
    contents = {f"{number}.md": f"# Page {number}\n\nWord{number} word." for number in range(9)}
    result = intake.take_in(book(contents), CONFIG, cache)
    path = tmp_path / "documents.parquet"
    assert files.write(path, DOCUMENTS, intake.document_rows(result, cache)) == 9
    rows = list(files.read(path, DOCUMENTS))
    ids = [row["doc_id"] for row in rows]
    assert ids == sorted(ids)
    assert rows[0]["content_digest"] == intake.content_digest(rows[0]["text"].strip().encode())


def test_near_duplicates_are_aliases_of_the_first_uri_and_different_texts_stay(
    cache: Cache[object],
) -> None:
    contents = {
        "b.md": PROSE * 3 + "The end.",
        "a.md": PROSE * 3 + "An end.",
        "c.md": PROSE * 3 + "The end.",
        "bread.md": "Knead the dough for ten minutes, let it rest and bake it until it is brown.",
    }
    result = intake.take_in(book(contents), CONFIG, cache)
    assert {row["uri"]: row["aliases"] for row in intake.document_rows(result, cache)} == {
        "book/a.md": ["book/b.md", "book/c.md"],
        "book/bread.md": [],
    }
    assert result.rejections == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("word", r"has 1 words, fewer than ingest\.quality\.min_words \(2\)"),
        (
            "1 2 3 4 5 6 7 8 9 " * 20,
            r"0\.0% of its characters are letters, "
            r"less than ingest\.quality\.min_letter_share \(30\.0%\)",
        ),
        (
            "<> {} so () [] [[ ]] <<>> to /// ",
            r"17\.4% of its characters are letters, "
            r"less than ingest\.quality\.min_letter_share \(30\.0%\)",
        ),
        (
            "All rights reserved by their owners.\n" * 9 + "New text.",
            r"\d+\.\d% of its characters are in lines that occurred before, more than",
        ),
        (
            "It was r\ufffdd\ufffd in part. " * 9,
            r"\d+\.\d% of its characters are replacement characters",
        ),
        (
            ("Schöne Grüße für Gäste. " * 9).encode().decode("cp1252"),
            r"\d+\.\d% of its characters look wrongly decoded",
        ),
    ],
)
def test_a_text_that_breaks_a_rule_is_a_rejection_with_value_and_limit(
    cache: Cache[object], text: str, reason: str
) -> None:
    result = intake.take_in(book({"bad.txt": text, "good.txt": PROSE}), CONFIG, cache)
    (row,) = result.rejections
    assert (row["uri"], row["stage"]) == ("book/bad.txt", "quality")
    assert re.match(reason, row["reason"]), row["reason"]
    assert [entry.uri for entry in result.documents] == ["book/good.txt"]


def test_a_document_without_content_is_a_rejection_without_digest(
    cache: Cache[object], tmp_path: Path
) -> None:
    large = SourceDocument("book/x", b"", problem="too large")
    documents = [("book", large), *book({"good.txt": PROSE})]
    result = intake.take_in(documents, CONFIG, cache)
    rejection = {
        "uri": "book/x",
        "source": "book",
        "stage": "source",
        "reason": "too large",
        "digest": None,
    }
    assert result.rejections == [rejection]
    assert files.write(tmp_path / "rejections.parquet", REJECTIONS, result.rejections) == 1


def test_texts_without_blanks_between_words_and_tables_of_numbers_are_taken_in(
    cache: Cache[object],
) -> None:
    numbers = "".join(
        f"| {year} | {year * 37} | {year / 7:.2f} % |\n" for year in range(1990, 2026)
    )
    contents = {
        "zh.txt": "如果忘记密码，请点击登录页面上的链接。",
        "th.txt": "หากลืมรหัสผ่านให้คลิกลิงก์ในหน้าเข้าสู่ระบบ",
        "ja.txt": "パスワードを忘れた場合は、リンクをクリックしてください。",
        "table.md": f"# Sales\n\n| Year | Sold | Share |\n| --- | --- | --- |\n{numbers}",
        "rows.csv": "year,sold\n" + "".join(f"{year},{year * 37}\n" for year in range(1990, 2026)),
    }
    config = CONFIG.model_copy(
        update={"quality": CONFIG.quality.model_copy(update={"min_words": 5})}
    )
    result = intake.take_in(book(contents), config, cache)
    assert result.rejections == []
    assert len(result.documents) == 5


def test_near_duplicates_are_told_in_a_script_without_blanks(cache: Cache[object]) -> None:
    text = (
        "如果忘记密码，请点击登录页面上的链接，然后输入电子邮件地址，系统会发送一封邮件。"
        "邮件中的链接在一小时内有效。如果没有收到邮件，请检查垃圾邮件文件夹，或者联系管理员。"
    )
    other_text = "每天晚上备份数据库，并检查备份文件是否完整，然后把它们复制到另一台服务器上保存。"
    contents = {"a.txt": text + "谢谢。", "b.txt": text + "再见。", "c.txt": other_text}
    config = CONFIG.model_copy(update={"near_duplicate_similarity": 0.7})
    result = intake.take_in(book(contents), config, cache)
    assert result.aliases == {"book/a.txt": ["book/b.txt"]}


def test_a_document_that_was_too_slow_is_tried_again_and_others_are_not(
    cache: Cache[object],
) -> None:
    slow_text = "<p>potatoes <b>x" * 16_000
    contents = {"slow.html": f"<html><body>{slow_text}", "good.md": PROSE}
    hasty_limits = CONFIG.limits.model_copy(update={"seconds": 1})
    hasty_config = CONFIG.model_copy(update={"limits": hasty_limits})
    assert intake.cache_kind(hasty_config) == intake.cache_kind(CONFIG)
    first = intake.take_in(book(contents), hasty_config, cache)
    (row,) = first.rejections
    assert (row["uri"], row["stage"]) == ("book/slow.html", "convert")
    assert row["reason"] == "took more than 1 s of CPU time"
    again = intake.take_in(book(contents), CONFIG, cache)
    assert (again.num_read, len(again.documents)) == (1, 2)


def test_every_module_by_which_documents_are_read_is_part_of_the_cached_works_name() -> None:
    modules: set[str] = set()
    for start in ("reading.py", "workers.py"):
        for path in dependencies.reachable(Path("pipelines/corpus") / start):
            if path.parent.name == "corpus" and dependencies.has_effect(path):
                modules.add(path.name)
    assert set(CODE) == modules


def with_readers(readers: list[str]) -> IngestConfig:
    """The configuration with a source `book` that these groups may read."""
    source = FilesSource(
        kind="files", name="book", path="data/raw/book", globs=["**/*"], readers=readers
    )
    return CONFIG.model_copy(update={"sources": [source]})


def test_a_document_may_exclude_readers_of_its_source_and_never_add_any(
    cache: Cache[object],
) -> None:
    contents = {
        "all.md": "# A\n\nOne two.",
        "fewer.md": "---\nreaders: hr\n---\n# B\n\nThree four.",
        "more.md": "---\nreaders: [hr, sales]\n---\n# C\n\nFive six.",
        "foreign.md": "---\nreaders: sales\n---\n# D\n\nSeven eight.",
        "public.md": "---\nreaders: everyone\n---\n# E\n\nNine ten.",
        "nested.md": "---\nparams:\n  readers: hr\n---\n# F\n\nThirteen fourteen.",
        "plain.txt": "---\nreaders: hr\n---\nEleven twelve.",
        "page.rst": "Title\n=====\n\n:readers: hr\n\nFifteen sixteen.",
        "page.html": '<head><meta name="readers" content="hr"></head><p>Eleven twelve.</p>',
    }
    result = intake.take_in(book(contents), with_readers(["hr", "board"]), cache)
    rows = {row["uri"]: row["readers"] for row in intake.document_rows(result, cache)}
    assert rows == {
        "book/all.md": ["board", "hr"],
        "book/fewer.md": ["hr"],
        "book/more.md": ["hr"],
        "book/nested.md": ["hr"],
        "book/public.md": ["board", "hr"],
    }
    reasons = {row["uri"]: (row["stage"], row["reason"]) for row in result.rejections}
    assert reasons["book/foreign.md"] == (
        "readers",
        "its front matter names none of the groups that may read its source (board, hr): name "
        "one of them, or none at all",
    )
    for name in ("plain.txt", "page.rst", "page.html"):
        assert "which only the front matter of Markdown does" in reasons[f"book/{name}"][1]
    # The source's rule is none of what the cache holds: it counts at once.
    result = intake.take_in(book(contents), with_readers([]), cache)
    rows = {row["uri"]: row["readers"] for row in intake.document_rows(result, cache)}
    assert result.num_read == 0
    assert rows["book/all.md"] == rows["book/public.md"] == ["everyone"]
    assert rows["book/foreign.md"] == ["sales"]


def test_no_document_stands_for_one_that_others_may_read(cache: Cache[object]) -> None:
    contents = {
        "a.md": PROSE,
        "b.md": f"---\nreaders: hr\n---\n{PROSE}",
        "c.md": f"---\nreaders: [hr]\n---\n{PROSE} And more.",
        "d.md": PROSE,
    }
    result = intake.take_in(book(contents), with_readers([]), cache)
    assert result.aliases == {"book/a.md": ["book/d.md"], "book/b.md": ["book/c.md"]}


def test_a_topic_of_the_faq_is_for_as_many_as_its_page(cache: Cache[object]) -> None:
    topics = {"pay": "book/pay.md", "gate": "book/gate.md", "lost": "book/lost.md"}
    documents = list(
        book({"pay.md": "---\nreaders: hr\n---\n# Pay\n\nOne two.", "gate.md": "# G\n\nThree."})
    )
    for topic, page in topics.items():
        answer = SourceDocument(f"faq/{topic}", f"## {topic}?\n\nA b.".encode(), page=page)
        documents.insert(0, ("faq", answer))
    result = intake.take_in(documents, with_readers([]), cache)
    uris = {row["uri"] for row in intake.document_rows(result, cache)}
    assert uris == {"book/pay.md", "book/gate.md", "faq/gate", "faq/lost"}
    (rejection,) = result.rejections
    assert (rejection["uri"], rejection["stage"]) == ("faq/pay", "readers")
    assert rejection["reason"].startswith("its page 'book/pay.md' may be read by hr alone")
