"""The source `files` on object stores: S3, Google Cloud Storage and Azure, each on a server on this machine that speaks its protocol."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import fsspec
import jwt
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pipelines import files
from pipelines.config.ingest import FilesSource
from pipelines.contracts.fetched import FETCHED
from pipelines.corpus import remote
from pipelines.errors import UserError

ROOT = Path(__file__).parents[2]
MOST = 1 << 16
BOOKS = {"docs/a.md": b"# A", "docs/deep/b.md": b"# B", "docs/c.txt": b"no", "other/d.md": b"no"}
AZURITE = "azurite@3.37.0"
ACCOUNT = "devstoreaccount1"  # Azurite's own, with a key that everybody knows
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows(name: str) -> dict[str, Any]:
    """uri -> content, or its problem, of a snapshot."""
    return {row["uri"]: row["problem"] or row["content"] for row in files.read(remote.snapshot(name), FETCHED)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def served(command: list[str], port: int, **environment: str) -> Iterator[None]:
    """A server on the port, from its first answer to the end of the block."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **environment}) as server:
        try:
            deadline = time.monotonic() + 90
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    assert server.poll() is None, f"{command} ended with {server.returncode}"
                    assert time.monotonic() < deadline, f"{command} does not answer"
                    time.sleep(0.1)
            yield
        finally:
            server.terminate()


def bucket(path: str) -> FilesSource:
    return FilesSource(kind="files", name="bucket", path=path, globs=["**/*.md"])


def test_files_are_fetched_from_an_s3_server_with_the_keys_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is moto's; it checks who asks and what they signed after its first three requests, which make the user."""
    port = free_port()
    for name, value in {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with served([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, INITIAL_NO_AUTH_ACTION_COUNT="3"):
        with pytest.raises(UserError, match=r"source bucket: s3://books/docs cannot be listed: NoCredentialsError: Unable to locate credentials\. Check the address, the network, and the credentials"):
            remote.fetch(bucket("s3://books/docs"), MOST)
        for name, value in aws_user(port).items():
            monkeypatch.setenv(name, value)
        system = fsspec.filesystem("s3", skip_instance_cache=True)
        system.mkdir("books")
        for name, content in BOOKS.items():
            system.pipe_file(f"books/{name}", content)
        assert remote.fetch(bucket("s3://books/docs"), MOST) == 2
        assert rows("bucket") == {"bucket/a.md": b"# A", "bucket/deep/b.md": b"# B"}
        with pytest.raises(UserError, match="no file below s3://books/nothing matches"):
            remote.fetch(bucket("s3://books/nothing"), MOST)
        with pytest.raises(UserError, match="source bucket: s3://no-such-bucket/docs cannot be listed: FileNotFoundError: The specified bucket does not exist"):
            remote.fetch(bucket("s3://no-such-bucket/docs"), MOST)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(UserError, match=r"source bucket: s3://books/docs cannot be listed: PermissionError: .*signature"):
            remote.fetch(bucket("s3://books/docs"), MOST)
        assert rows("bucket") == {"bucket/a.md": b"# A", "bucket/deep/b.md": b"# B"}


def aws_user(port: int) -> dict[str, str]:
    """The keys of a new user of moto's server that may do everything."""
    import boto3

    people = boto3.client("iam", aws_access_key_id="any", aws_secret_access_key="any", endpoint_url=f"http://127.0.0.1:{port}")
    people.create_user(UserName="ada")
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    people.put_user_policy(UserName="ada", PolicyName="all", PolicyDocument=json.dumps(everything))
    made = people.create_access_key(UserName="ada")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": made["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"]}


class Door(BaseHTTPRequestHandler):
    """Gives an access token to who signs with the service account's key, as Google's token address does."""

    key: Any
    asked: list[int]

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        try:
            jwt.decode(form["assertion"][0], self.key.public_key(), algorithms=["RS256"], options={"verify_aud": False})
            status, answer = 200, {"access_token": "a-token", "expires_in": 3600, "token_type": "Bearer"}
        except jwt.InvalidSignatureError:
            status, answer = 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        self.asked.append(status)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *arguments: Any) -> None:
        pass


def account(key: Any, token_uri: str) -> str:
    """A service account's file with this key, as Google Cloud gives it."""
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    return json.dumps({"type": "service_account", "project_id": "kitchen", "private_key_id": "1", "private_key": pem, "client_email": "ada@kitchen.iam.gserviceaccount.com", "token_uri": token_uri})


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, list[int]]]:
    """An emulated Google Cloud Storage with BOOKS in the bucket books, and a token address: a service account's file, and the statuses with which tokens were given or refused."""
    port, key = free_port(), rsa.generate_private_key(public_exponent=65537, key_size=2048)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # else gcsfs asks for the kind of a bucket by gRPC, which the emulator does not speak
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    door = type("Door", (Door,), {"key": key, "asked": []})
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1", "--port", str(port), "--in-memory", "--quiet"]
    with served(command, port), ThreadingHTTPServer(("127.0.0.1", 0), door) as tokens:
        threading.Thread(target=tokens.serve_forever, daemon=True).start()
        system = fsspec.filesystem("gs", token="anon", project="kitchen", skip_instance_cache=True)
        system.mkdir("books")
        for name, content in BOOKS.items():
            system.pipe_file(f"books/{name}", content)
        (tmp_path / "account.json").write_text(account(key, f"http://127.0.0.1:{tokens.server_port}/token"))
        yield tmp_path / "account.json", door.asked  # type: ignore[attr-defined]
        tokens.shutdown()


def test_files_are_fetched_from_google_cloud_storage_with_the_service_account_that_the_environment_names(google: tuple[Path, list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    file, asked = google
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    assert remote.fetch(bucket("gs://books/docs"), MOST) == 2
    assert asked == [200]
    assert rows("bucket") == {"bucket/a.md": b"# A", "bucket/deep/b.md": b"# B"}
    with pytest.raises(UserError, match="no file below gs://books/nothing matches"):
        remote.fetch(bucket("gs://books/nothing"), MOST)
    with pytest.raises(UserError, match=r"source bucket: gs://no-such-bucket/docs cannot be listed: FileNotFoundError: .*no-such-bucket"):
        remote.fetch(bucket("gs://no-such-bucket/docs"), MOST)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file.with_name("gone.json")))
    with pytest.raises(UserError, match=r"source bucket: gs://books/docs cannot be listed: DefaultCredentialsError: File .*gone\.json was not found\. Check"):
        remote.fetch(bucket("gs://books/docs"), MOST)
    assert rows("bucket") == {"bucket/a.md": b"# A", "bucket/deep/b.md": b"# B"}


@pytest.mark.slow
def test_a_service_account_that_google_refuses_is_told(google: tuple[Path, list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a minute: gcsfs asks six times."""
    file, asked = google
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    file.write_text(account(rsa.generate_private_key(public_exponent=65537, key_size=2048), json.loads(file.read_text())["token_uri"]))
    with pytest.raises(
        UserError, match=r"source bucket: gs://books/docs cannot be listed: HttpError: Invalid Credentials, 401\. Check the address, the network, and the credentials in the environment"
    ):
        remote.fetch(bucket("gs://books/docs"), MOST)
    assert set(asked) == {400}


def connection(port: int, key: str) -> dict[str, str]:
    """The environment that names the Azure account on this port."""
    return {"AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={key};BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"}


def fetched(source: str, environment: dict[str, str]) -> tuple[int, str]:
    """Exit code and output of `python -m pipelines fetch`, which has nothing about Azure in its environment but this."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
    done = subprocess.run([sys.executable, "-m", "pipelines", "fetch", source], capture_output=True, text=True, env={**clean, "PYTHONPATH": str(ROOT), **environment})
    return done.returncode, (done.stdout + done.stderr).strip()


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[int]:
    """The port of Microsoft's own emulator, which npm installs first (366 MB), with BOOKS in the container `books`; and a project with three sources there."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    places = {"bucket": "books/docs", "empty": "books/nothing", "gone": "no-such-container/docs"}
    values["ingest"]["sources"] = [bucket(f"abfs://{container}").model_dump() | {"name": name} for name, container in places.items()]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")
    port = free_port()
    address = ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
    try:
        subprocess.run(["npm", "install", "--prefix", "azurite", "--no-audit", "--no-fund", "--loglevel=error", AZURITE], check=True)
        with served(["node", "azurite/node_modules/azurite/dist/src/blob/main.js", *address, "--location", "kept", "--silent", "--disableTelemetry", "--skipApiVersionCheck"], port):
            system = fsspec.filesystem("abfs", connection_string=connection(port, ACCOUNT_KEY)["AZURE_STORAGE_CONNECTION_STRING"], skip_instance_cache=True)
            system.mkdir("books")
            for name, content in BOOKS.items():
                system.pipe_file(f"books/{name}", content)
            yield port
    finally:
        shutil.rmtree("azurite", ignore_errors=True)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("npm"), reason="npm, which brings Azurite, is not installed")
def test_files_are_fetched_from_azure_by_the_command_with_the_connection_string_from_the_environment(azure: int) -> None:
    right, wrong = (connection(azure, key) for key in (ACCOUNT_KEY, b64encode(bytes(64)).decode()))
    assert fetched("bucket", right) == (0, "bucket: 2 documents in data/raw/fetched/bucket.parquet (changed: `dvc repro` reads them)")
    assert rows("bucket") == {"bucket/a.md": b"# A", "bucket/deep/b.md": b"# B"}
    assert fetched("bucket", right) == (0, "bucket: 2 documents in data/raw/fetched/bucket.parquet (unchanged)")
    for source, environment, reason in (
        ("empty", right, "source empty: no file below abfs://books/nothing matches ['**/*.md']"),
        ("gone", right, "source gone: no file below abfs://no-such-container/docs matches ['**/*.md']"),
        ("bucket", wrong, "source bucket: abfs://books/docs cannot be listed: HttpResponseError: Server failed to authenticate the request"),
        ("bucket", {}, "source bucket: abfs://books/docs cannot be listed: ValueError: unable to connect to account for Must provide either a connection_string or account_name with credentials"),
    ):
        code, output = fetched(source, environment)
        assert (code, len(output.splitlines())) == (1, 1), output
        assert output.startswith(f"params.yaml: ingest.sources: {reason}")
    assert rows("bucket") == {"bucket/a.md": b"# A", "bucket/deep/b.md": b"# B"}
