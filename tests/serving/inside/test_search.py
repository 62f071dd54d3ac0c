import socket

import pytest

from pipelines.serving.inside.search import Index, SearchError


def test_an_address_that_is_missing_or_wrong_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("", "weaviate:8080"):
        monkeypatch.setenv("WEAVIATE_URL", url)
        with pytest.raises(SearchError, match="WEAVIATE_URL: .* is no address"):
            Index("Chunks_1", 1.0)


def test_a_server_that_is_gone_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WEAVIATE_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(SearchError, match="the knowledge index cannot be reached: "):
            Index("Chunks_1", 1.0).passages("q", [0.1], 1.0, 3)
