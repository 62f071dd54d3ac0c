from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.errors import Unreachable, UserError
from pipelines.vectorstore import AliasReader, move_alias_back, point_alias
from tests.vectorstore.test_aliases import build


def test_a_reader_says_what_is_behind_an_alias_as_soon_as_it_is_moved(
    serving: Path, tmp_path: Path
) -> None:
    reader = AliasReader()
    assert reader.read_content("Read") is None
    point_alias("Read", build(tmp_path, "first"))
    with ThreadPoolExecutor(8) as pool:
        contents = set(pool.map(lambda _: reader.read_content("Read"), range(32)))
    assert len(contents) == 1
    (first,) = contents
    point_alias("Read", build(tmp_path, "second"))
    assert reader.read_content("Read") not in (first, None)
    move_alias_back("Read")
    assert reader.read_content("Read") == first
    reader.close()
    assert reader.read_content("Read") == first, "it connects again"
    reader.close()


def test_a_reader_connects_anew_after_a_failure(serving: Path, tmp_path: Path) -> None:
    point_alias("Again", build(tmp_path, "again"))
    reader = AliasReader()
    content = reader.read_content("Again")
    assert content is not None
    client = reader._client
    assert client is not None
    client.close()  # as if the server had gone
    with pytest.raises(Unreachable, match="does not say what Again names"):
        reader.read_content("Again")
    assert reader.read_content("Again") == content
    reader.close()


def test_a_reader_without_a_server_says_so(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEAVIATE_URL", "http://127.0.0.1:1")
    with pytest.raises(UserError, match="cannot be reached"):
        AliasReader().read_content("Read")
