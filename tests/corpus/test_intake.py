import io
import resource
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from docx import Document

from pipelines import files, workcache
from pipelines.config.ingest import IngestConfig, Limits, PackagesSource, Quality
from pipelines.contracts.documents import DOCUMENTS, REJECTIONS
from pipelines.corpus import intake
from pipelines.corpus.sources import Found
from pipelines.workcache import Cache

HOSTILE = Path(__file__).parents[2].parent / "shared/data/hostile_inputs"
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


def hostile_archives() -> dict[str, bytes]:
    """Office files that would fill the memory: XML that repeats itself, and a small archive that unpacks to much."""
    made = Document()
    made.add_paragraph("text")
    plain, laughs, bomb = io.BytesIO(), io.BytesIO(), io.BytesIO()
    made.save(plain)
    entities = "".join(f'<!ENTITY l{number} "{f"&l{number - 1};" * 10}">' for number in range(1, 12))
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(laughs, "w") as exploding, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as full:
        for name in source.namelist():
            body = source.read(name)
            if name == "word/document.xml":
                text = body.decode().replace("<w:document", f'<!DOCTYPE a [<!ENTITY l0 "ha">{entities}]><w:document', 1).replace(">text<", ">&l11;<")
                exploding.writestr(name, text)
                full.writestr(name, body.replace(b"</w:body>", b"<w:p/>" * 20_000_000 + b"</w:body>"))
            else:
                exploding.writestr(name, body)
                full.writestr(name, body)
    return {"plain.docx": plain.getvalue(), "laughs.docx": laughs.getvalue(), "bomb.docx": bomb.getvalue(), "cut.docx": plain.getvalue()[:-300]}


def test_office_files_that_would_fill_the_memory_or_are_cut_short_are_rejections_and_the_good_one_is_read(cache: Cache) -> None:
    taken = intake.take_in(
        found({**hostile_archives(), "renamed.pdf": hostile_archives()["plain.docx"], "good.txt": PROSE.encode()}),
        CONFIG.model_copy(update={"quality": CONFIG.quality.model_copy(update={"min_words": 1})}),
        cache,
    )
    told = reasons(taken)
    assert "unpacks to" in told["book/bomb.docx"][1]
    assert "damaged" in told["book/cut.docx"][1]
    kept = {row["uri"]: row["text"] for row in intake.documents(taken, cache)}
    assert kept.get("book/laughs.docx", "").count("ha") < 1000
    assert {"book/plain.docx", "book/good.txt"} <= kept.keys() | set().union(*map(set, taken.aliases.values()))


@pytest.mark.skipif(not HOSTILE.is_dir(), reason="the hostile files are not beside this checkout")
def test_every_hostile_file_is_read_or_rejected_with_its_reason_in_bounded_memory(cache: Cache) -> None:
    paths = sorted(path for path in HOSTILE.rglob("*") if path.is_file())
    contents = {path.relative_to(HOSTILE).as_posix(): path.read_bytes() for path in paths}
    taken = intake.take_in(found(contents), CONFIG, cache)
    assert len(taken.kept) + len(taken.rejections) + sum(map(len, taken.aliases.values())) == len(paths)
    assert all(reason for _, reason in reasons(taken).values())
    assert not [text for text in reasons(taken).values() if "crashed" in text[1]]
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2048 * 1024  # KiB: the largest worker
    encrypted = {uri: reason for uri, (_, reason) in reasons(taken).items() if "encrypted" in uri}
    assert encrypted
    assert all("password" in reason for uri, reason in encrypted.items() if uri.endswith("libreoffice-writer-password.pdf"))
