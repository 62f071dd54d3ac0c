"""`read` on files and on a page of a local web server, with the values of this repository."""

import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.commands import read
from pipelines.errors import UserError

ROOT = Path(__file__).parents[2]
PAGE = """<html><head><title>Brewing</title><script>alert("hello")</script></head><body>
<nav><a href="/">Home and start</a></nav>
<main><h1>Brewing</h1><p>Fill the kettle with water and wait until it boils.</p>
<h2>Help</h2><p>Write to ada@lovelace.dev if the kettle leaks or makes a strange noise.</p></main>
</body></html>"""


@pytest.fixture(autouse=True)
def _in_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_page_is_shown_with_what_was_left_out_redacted_and_cut(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("brewing.html").write_text(PAGE)
    assert read.run("brewing.html") == 0
    lines = lines_of(capsys)
    assert "type text/html" in lines
    assert "title Brewing" in lines
    assert "language en" in lines
    assert "redacted 1 places" in lines
    assert "left out 8.9% of its text; characters by kind: navigation 14" in lines
    assert any("Write to [EMAIL_ADDRESS 1] if the kettle" in line for line in lines)
    assert any(line.startswith("--- passage 1: Brewing, ") for line in lines)
    assert not any("ada@" in line for line in lines)


def test_the_page_beside_the_output_shows_the_source_and_runs_nothing_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("brewing.html").write_text(PAGE)
    read.run("brewing.html", Path("out/read.html"))
    assert lines_of(capsys)[-1] == "source and text side by side: out/read.html"
    page = Path("out/read.html").read_text()
    assert "<script>" not in page
    assert "<iframe sandbox srcdoc=" in page
    assert "default-src &#39;none&#39;" in page
    assert "Home and start" in page
    assert "Write to [EMAIL_ADDRESS 1]" in page


def test_a_file_of_a_source_with_readers_says_who_may_read_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = Path("params.yaml").read_text()
    folder = "path: data/raw/handbook       "
    assert folder in values
    Path("params.yaml").write_text(values.replace(folder, f"readers: [hr]\n      {folder}"))
    page = Path("data/raw/handbook/pay.md")
    page.parent.mkdir(parents=True)
    page.write_text("# Pay\n\nWages are paid on the last day of the month.\n")
    assert read.run(str(page)) == 0
    assert "readers hr" in lines_of(capsys)
    elsewhere = Path("pay.md")
    elsewhere.write_text(page.read_text())
    assert read.run(str(elsewhere)) == 0
    assert "readers everyone" in lines_of(capsys)


def test_a_rejected_file_says_why_and_gives_exit_code_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("broken.pdf").write_bytes(b"%PDF-1.7\nnothing more")
    assert read.run("broken.pdf") == 1
    output = "\n".join(lines_of(capsys))
    assert "broken.pdf: rejected: " in output
    assert "(stage convert)" in output
    assert "Rejected: " in Path(".state/read.html").read_text()


def test_a_file_that_breaks_a_rule_of_quality_is_rejected_with_the_rule(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("short.md").write_text("Too short.")
    assert read.run("short.md") == 1
    assert "ingest.quality.min_words (5) (stage quality)" in "\n".join(lines_of(capsys))


def test_what_is_neither_file_nor_url_is_an_error() -> None:
    with pytest.raises(UserError, match="manual: is no file and no http"):
        read.run("manual")


@contextmanager
def local_site(content: str) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_page = self.path == "/guide/brewing.html"
            self.send_response(200 if is_page else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(content.encode() if is_page else b"")

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/guide"
    finally:
        server.shutdown()
        server.server_close()


def test_a_web_page_is_read_and_a_private_address_only_if_it_is_allowed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with local_site(PAGE) as address:
        with pytest.raises(UserError, match=r"fetch\.allowed_hosts"):
            read.run(f"{address}/brewing.html")
        values = Path("params.yaml").read_text()
        Path("params.yaml").write_text(
            values.replace("allowed_hosts: []", 'allowed_hosts: ["127.0.0.1"]')
        )
        assert read.run(f"{address}/brewing.html") == 0
        assert "title Brewing" in lines_of(capsys)
        with pytest.raises(UserError, match=r"missing\.html: HTTP 404"):
            read.run(f"{address}/missing.html")
