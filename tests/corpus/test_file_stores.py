"""The source `files` on web and SFTP servers; test_clouds.py has the object stores."""

import asyncio
import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.config.ingest import FilesSource
from pipelines.corpus import remote
from pipelines.corpus.sources import read_source
from pipelines.errors import UserError
from tests.corpus.conftest import Answer, Contents, WebServer

MAX_BYTES = 1 << 16
HERE = ("127.0.0.1",)  # private addresses are refused otherwise


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_files_are_fetched_by_http(site: WebServer, contents: Contents) -> None:
    (site.folder / "docs/a.md").write_text("# A")
    (site.folder / "docs/b.txt").write_text("b" * (MAX_BYTES + 9))
    source = FilesSource(
        kind="files", name="shared", path=f"{site.url}/docs", globs=["*.md", "*.txt"]
    )
    assert remote.fetch(source, MAX_BYTES, HERE) == 2
    assert contents("shared")["shared/a.md"] == b"# A"
    assert "more than ingest.limits.max_document_mib" in contents("shared")["shared/b.txt"]
    uris = [document.uri for document in read_source(source, {}, MAX_BYTES)]
    assert uris == ["shared/a.md", "shared/b.txt"]


def test_globs_without_a_match_and_a_file_that_cannot_be_read_keep_the_last_snapshot(
    site: WebServer, contents: Contents
) -> None:
    (site.folder / "docs/a.md").write_text("# A")
    source = FilesSource(kind="files", name="shared", path=f"{site.url}/docs", globs=["*.md"])
    remote.fetch(source, MAX_BYTES, HERE)

    with pytest.raises(UserError, match=r"no file below .+ matches \['\*\.pdf'\]"):
        remote.fetch(source.model_copy(update={"globs": ["*.pdf"]}), MAX_BYTES, HERE)

    (site.folder / "docs/locked.md").write_text("# locked")
    message = (
        r"source shared: http://\S+ cannot be read at shared/locked\.md: ClientResponseError: 403"
    )
    with pytest.raises(UserError, match=message):
        remote.fetch(source, MAX_BYTES, HERE)
    assert contents("shared").keys() == {"shared/a.md"}


@pytest.mark.parametrize(
    "path",
    [
        "file:///etc",
        "local:///etc",
        "FILE:///etc",
        "simplecache::file:///etc",
        "zip://*.md::/srv/docs.zip",
        "zip://*.md::file:///srv/docs.zip",
        "reference://::list.json",
        "git://docs:main@/srv/repository",
        "memory://docs",
    ],
)
def test_a_url_of_this_machine_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is on this machine: copy the files below data/raw"):
        FilesSource(kind="files", name="shared", path=path, globs=["*.md"])


def test_a_variable_cannot_make_a_url_one_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIND", "file")
    source = FilesSource(kind="files", name="shared", path="${KIND}:///etc", globs=["*"])
    with pytest.raises(UserError, match="source shared: file:///etc is on this machine"):
        remote.fetch(source, MAX_BYTES)


def test_http_stays_on_its_host_on_public_addresses_and_below_its_folder(
    site: WebServer, contents: Contents
) -> None:
    (site.folder / "docs/a.md").write_text("# A")
    (site.folder / "secret.md").write_text("secret")
    listing = b'<a href="a.md">a</a> <a href="../secret.md">s</a>'
    site.answers["/docs"] = site.answers["/docs/"] = Answer(
        200, {"Content-Type": "text/html"}, listing
    )
    source = FilesSource(kind="files", name="shared", path=f"{site.url}/docs", globs=["**/*.md"])
    with pytest.raises(UserError, match=r"127\.0\.0\.1 is the private address 127\.0\.0\.1: if it"):
        remote.fetch(source, MAX_BYTES)
    assert site.requests == []
    assert remote.fetch(source, MAX_BYTES, HERE) == 1
    assert contents("shared") == {"shared/a.md": b"# A"}

    elsewhere = site.url.replace("127.0.0.1", "localhost")
    site.answers["/docs/a.md"] = Answer(302, {"Location": f"{elsewhere}/secret.md"})
    with pytest.raises(UserError, match=r"localhost is not the source's host, 127\.0\.0\.1"):
        remote.fetch(source, MAX_BYTES, HERE)
    assert "/secret.md" not in [path for path, _ in site.requests]


@pytest.fixture
def sftp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a real SFTP server that lets `ada` in with the password `secret`."""
    import asyncssh

    class Server(asyncssh.SSHServer):  # type: ignore[misc]  # asyncssh is not typed here
        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == ("ada", "secret")

    key = asyncssh.generate_private_key("ssh-ed25519")
    ports: list[int] = []
    loop = asyncio.new_event_loop()
    is_open = threading.Event()

    def serve() -> None:
        asyncio.set_event_loop(loop)
        listening: Any = asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[key], server_factory=Server, sftp_factory=True
        )
        ports.append(loop.run_until_complete(listening).get_port())
        is_open.set()
        loop.run_forever()

    threading.Thread(target=serve, daemon=True).start()
    assert is_open.wait(20)
    (tmp_path / "home/.ssh").mkdir(parents=True)
    public_key = key.export_public_key().decode()
    known_hosts = tmp_path / "home/.ssh/known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{ports[0]} {public_key}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield ports[0]
    loop.call_soon_threadsafe(loop.stop)


def test_files_are_fetched_by_sftp_with_the_password_from_the_environment(
    sftp: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contents: Contents
) -> None:
    (tmp_path / "served/docs/deep").mkdir(parents=True)
    (tmp_path / "served/docs/deep/a.md").write_text("# A")
    (tmp_path / "served/docs/linked.md").symlink_to("deep/a.md")
    (tmp_path / "served/docs/folder.md").symlink_to("deep")
    monkeypatch.setenv("SHARE_PASSWORD", "secret")
    source = FilesSource(
        kind="files",
        name="share",
        path=f"ssh://ada:${{SHARE_PASSWORD}}@127.0.0.1:{sftp}{tmp_path}/served/docs",
        globs=["**/*.md"],
    )
    assert remote.fetch(source, MAX_BYTES, HERE) == 2
    assert contents("share") == {"share/deep/a.md": b"# A", "share/linked.md": b"# A"}


@pytest.mark.parametrize("known_hosts", ["", "[127.0.0.1]:{} ssh-ed25519 {}\n"])
def test_an_sftp_server_with_an_unknown_or_another_key_is_refused(
    sftp: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known_hosts: str
) -> None:
    import asyncssh

    other_key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().split()[1]
    (tmp_path / "home/.ssh/known_hosts").write_text(known_hosts.format(sftp, other_key))
    (tmp_path / "served").mkdir()
    (tmp_path / "served/a.md").write_text("# A")
    monkeypatch.setenv("SHARE_PASSWORD", "secret")
    path = f"sftp://ada:${{SHARE_PASSWORD}}@127.0.0.1:{sftp}{tmp_path}/served"
    source = FilesSource(kind="files", name="share", path=path, globs=["*.md"])
    message = "cannot be listed: .*Host key is not trusted.*must be in ~/.ssh/known_hosts"
    with pytest.raises(UserError, match=message):
        remote.fetch(source, MAX_BYTES)


@pytest.mark.skipif(importlib.util.find_spec("ossfs") is not None, reason="ossfs is installed")
def test_a_protocol_whose_package_is_missing_is_reported_with_package_and_command() -> None:
    source = FilesSource(kind="files", name="bucket", path="oss://books/docs", globs=["**/*.md"])
    message = (
        r"source bucket: oss:// needs a package that is not installed: .*ossfs.*\. "
        r"Add it to pyproject\.toml, then run `make lock setup`"
    )
    with pytest.raises(UserError, match=message):
        remote.fetch(source, MAX_BYTES, HERE)
