"""Object stores as the source `files` and as DVC's remote: S3, Google Cloud Storage, Azure, SSH.

Each is a server on this machine that speaks the store's protocol.
"""

import getpass
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import fsspec
import jwt
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pipelines.config.ingest import FilesSource
from pipelines.corpus import remote
from pipelines.errors import UserError
from pipelines.system.processes import free_ports
from tests.corpus.conftest import Contents, run_server

ROOT = Path(__file__).parents[2]
MAX_BYTES = 1 << 16
BOOKS = {"docs/a.md": b"# A", "docs/deep/b.md": b"# B", "docs/c.txt": b"no", "other/d.md": b"no"}
PAGES = {"bucket/a.md": b"# A", "bucket/deep/b.md": b"# B"}  # what a fetch of books/docs brings
CHECK = "Check the address, the network, and the credentials in the environment"
SSHD = "/usr/sbin/sshd"
AZURITE = "azurite@3.37.0"
ACCOUNT = "devstoreaccount1"  # Azurite's own, with a key that everybody knows
ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fill_bucket(system: Any) -> None:
    """Put BOOKS into the bucket `books`."""
    system.mkdir("books")
    for name, content in BOOKS.items():
        system.pipe_file(f"books/{name}", content)


def bucket(path: str, name: str = "bucket") -> FilesSource:
    return FilesSource(kind="files", name=name, path=path, globs=["**/*.md"])


def check_error(path: str, message: str) -> None:
    """Asserts that a fetch fails with a message that matches this pattern."""
    with pytest.raises(UserError, match=f"source bucket: {message}"):
        remote.fetch(bucket(path), MAX_BYTES)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of moto's S3 server, which the environment names without keys.

    After its first three requests, which make the user, it checks who asks and what they signed.
    """
    (port,) = free_ports(1)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with run_server(command, port, INITIAL_NO_AUTH_ACTION_COUNT="3"):
        yield port


def test_files_are_fetched_from_s3_with_the_keys_from_the_environment(
    s3: int, monkeypatch: pytest.MonkeyPatch, contents: Contents
) -> None:
    no_credentials = rf"NoCredentialsError: Unable to locate credentials\. {CHECK}"
    check_error("s3://books/docs", f"s3://books/docs cannot be listed: {no_credentials}")
    for name, value in make_aws_user(s3).items():
        monkeypatch.setenv(name, value)
    fill_bucket(fsspec.filesystem("s3", skip_instance_cache=True))
    assert remote.fetch(bucket("s3://books/docs"), MAX_BYTES) == 2
    assert contents("bucket") == PAGES

    check_error("s3://books/nothing", "no file below s3://books/nothing matches")
    missing = "FileNotFoundError: The specified bucket does not exist"
    check_error("s3://no-bucket/docs", f"s3://no-bucket/docs cannot be listed: {missing}")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    refusal = "PermissionError: .*signature"
    check_error("s3://books/docs", f"s3://books/docs cannot be listed: {refusal}")
    assert contents("bucket") == PAGES


def make_aws_user(port: int) -> dict[str, str]:
    """The keys of a new user of moto's server that may do everything."""
    import boto3

    iam = boto3.client(
        "iam",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        endpoint_url=f"http://127.0.0.1:{port}",
    )
    iam.create_user(UserName="ada")
    everything = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    }
    iam.put_user_policy(UserName="ada", PolicyName="all", PolicyDocument=json.dumps(everything))
    key = iam.create_access_key(UserName="ada")["AccessKey"]
    return {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }


class TokenHandler(BaseHTTPRequestHandler):
    """Gives an access token to who signs with the service account's key, as Google does."""

    key: Any
    statuses: list[int]

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        public_key = self.key.public_key()
        options: Any = {"verify_aud": False}
        try:
            jwt.decode(form["assertion"][0], public_key, algorithms=["RS256"], options=options)
        except jwt.InvalidSignatureError:
            error = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
            self._answer(400, error)
        else:
            token = {"access_token": "a-token", "expires_in": 3600, "token_type": "Bearer"}
            self._answer(200, token)

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        self.statuses.append(status)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *arguments: Any) -> None:
        pass


class Google(NamedTuple):
    """An emulated Google Cloud Storage with BOOKS in the bucket `books`."""

    account: Path  # file of a service account that may read them
    token_statuses: list[int]  # with which tokens were handed out (200) or refused (400)


def make_key() -> Any:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def make_account(key: Any, token_uri: str) -> str:
    """A service account's file with this key, as Google Cloud hands it out."""
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "kitchen",
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": "ada@kitchen.iam.gserviceaccount.com",
            "token_uri": token_uri,
        }
    )


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    (port,) = free_ports(1)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    # Otherwise gcsfs asks for the kind of a bucket by gRPC, which the emulator does not speak.
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    program = [sys.executable, "-m", "gcp_storage_emulator", "start", "--in-memory", "--quiet"]
    with run_server([*program, "--host", "127.0.0.1", "--port", str(port)], port):
        system = fsspec.filesystem("gs", token="anon", project="kitchen", skip_instance_cache=True)
        fill_bucket(system)
        with serve_tokens(tmp_path / "account.json") as statuses:
            yield Google(tmp_path / "account.json", statuses)


@contextmanager
def serve_tokens(account: Path) -> Iterator[list[int]]:
    """A token server; the account's file that it knows is written to this path."""
    key = make_key()
    statuses: list[int] = []
    handler = type("Handler", (TokenHandler,), {"key": key, "statuses": statuses})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        account.write_text(make_account(key, f"http://127.0.0.1:{server.server_port}/token"))
        yield statuses
        server.shutdown()


def test_files_are_fetched_from_google_with_the_account_that_the_environment_names(
    google: Google, monkeypatch: pytest.MonkeyPatch, contents: Contents
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google.account))
    assert remote.fetch(bucket("gs://books/docs"), MAX_BYTES) == 2
    assert google.token_statuses == [200]
    assert contents("bucket") == PAGES

    check_error("gs://books/nothing", "no file below gs://books/nothing matches")
    missing = "FileNotFoundError: .*no-bucket"
    check_error("gs://no-bucket/docs", f"gs://no-bucket/docs cannot be listed: {missing}")
    missing_account = google.account.with_name("gone.json")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(missing_account))
    missing = rf"DefaultCredentialsError: File .*gone\.json was not found\. {CHECK}"
    check_error("gs://books/docs", f"gs://books/docs cannot be listed: {missing}")
    assert contents("bucket") == PAGES


@pytest.mark.slow
def test_a_service_account_that_google_refuses_is_reported(
    google: Google, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a minute: gcsfs asks six times."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google.account))
    token_uri = json.loads(google.account.read_text())["token_uri"]
    google.account.write_text(make_account(make_key(), token_uri))
    refusal = rf"HttpError: Invalid Credentials, 401\. {CHECK}"
    check_error("gs://books/docs", f"gs://books/docs cannot be listed: {refusal}")
    assert set(google.token_statuses) == {400}


def azure_connection(port: int, key: str) -> dict[str, str]:
    """The environment that names the Azure account on this port."""
    parts = {
        "DefaultEndpointsProtocol": "http",
        "AccountName": ACCOUNT,
        "AccountKey": key,
        "BlobEndpoint": f"http://127.0.0.1:{port}/{ACCOUNT}",
    }
    text = "".join(f"{name}={value};" for name, value in parts.items())
    return {"AZURE_STORAGE_CONNECTION_STRING": text}


def run_fetch(source: str, environment: dict[str, str]) -> tuple[int, str]:
    """Exit code and output of `python -m pipelines fetch` with only this about Azure."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
    answer = subprocess.run(
        [sys.executable, "-m", "pipelines", "fetch", source],
        capture_output=True,
        text=True,
        env={**clean, "PYTHONPATH": str(ROOT), **environment},
    )
    return answer.returncode, (answer.stdout + answer.stderr).strip()


def make_azure_project() -> None:
    """A params.yaml in the current folder with three sources on Azure."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    sources = [
        bucket("abfs://books/docs"),
        bucket("abfs://books/nothing", "empty"),
        bucket("abfs://no-container/docs", "gone"),
    ]
    values["ingest"]["sources"] = [source.model_dump() for source in sources]
    Path("params.yaml").write_text(yaml.safe_dump(values))
    shutil.copy(ROOT / "dvc.yaml", "dvc.yaml")


@pytest.fixture
def azure() -> Iterator[int]:
    """The port of Microsoft's own emulator, with BOOKS in the container `books`.

    npm installs it first (366 MB).
    """
    make_azure_project()
    (port,) = free_ports(1)
    options = ["--no-audit", "--no-fund", "--loglevel=error"]
    program = ["node", "azurite/node_modules/azurite/dist/src/blob/main.js"]
    address = ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
    flags = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    try:
        subprocess.run(["npm", "install", "--prefix", "azurite", *options, AZURITE], check=True)
        with run_server([*program, *address, "--location", "data", *flags], port):
            text = azure_connection(port, ACCOUNT_KEY)["AZURE_STORAGE_CONNECTION_STRING"]
            system = fsspec.filesystem("abfs", connection_string=text, skip_instance_cache=True)
            fill_bucket(system)
            yield port
    finally:
        shutil.rmtree("azurite", ignore_errors=True)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("npm"), reason="npm, which brings Azurite, is not installed")
def test_files_are_fetched_from_azure_by_the_command_with_the_environment_s_connection_string(
    azure: int, contents: Contents
) -> None:
    right = azure_connection(azure, ACCOUNT_KEY)
    wrong = azure_connection(azure, b64encode(bytes(64)).decode())
    line = "bucket: 2 documents in data/raw/fetched/bucket.parquet"
    assert run_fetch("bucket", right) == (0, f"{line} (changed: `dvc repro` reads them)")
    assert contents("bucket") == PAGES
    assert run_fetch("bucket", right) == (0, f"{line} (unchanged)")

    check_failure("empty", right, "no file below abfs://books/nothing matches ['**/*.md']")
    check_failure("gone", right, "no file below abfs://no-container/docs matches ['**/*.md']")
    listing = "abfs://books/docs cannot be listed"
    refusal = "HttpResponseError: Server failed to authenticate the request"
    check_failure("bucket", wrong, f"{listing}: {refusal}")
    no_account = (
        "ValueError: unable to connect to account for Must provide either a connection_string or "
        "account_name with credentials"
    )
    check_failure("bucket", {}, f"{listing}: {no_account}")
    assert contents("bucket") == PAGES


def check_failure(source: str, environment: dict[str, str], problem: str) -> None:
    """Asserts that the command ends with one line that states the problem."""
    code, output = run_fetch(source, environment)
    assert code == 1
    prefix = re.escape(f"params.yaml: ingest.sources: source {source}: {problem}")
    assert re.fullmatch(f"{prefix}.*", output), output


CONFIG = """\
[core]
    remote = store
    analytics = false
['remote "store"']
"""


class Remote(NamedTuple):
    """A remote of DVC, and its other settings."""

    url: str
    options: dict[str, str] = {}


def dvc(folder: Path, *words: str) -> tuple[int, str]:
    """Exit code and output of DVC, which knows no other settings than the folder's."""
    environment = {**os.environ, "DVC_GLOBAL_CONFIG_DIR": str(folder)}
    answer = subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment,
    )
    return answer.returncode, answer.stdout + answer.stderr


def demand(outcome: tuple[int, str]) -> str:
    """The output of a command that must succeed."""
    code, output = outcome
    assert code == 0, output
    return output


def make_dvc_project(folder: Path, remote: Remote) -> None:
    """A Git repository with a folder and a file that DVC tracks, and this remote."""
    (folder / "models/base").mkdir(parents=True)
    (folder / "models/base/weights.bin").write_bytes(bytes(range(256)) * 4096)
    (folder / "models/base/config.json").write_text("{}")
    (folder / "chunks.parquet").write_bytes(b"chunks")
    git(folder, "init", "--quiet")
    demand(dvc(folder, "init", "--quiet"))
    settings = {"url": remote.url, **remote.options}
    lines = [f"    {name} = {value}\n" for name, value in settings.items()]
    (folder / ".dvc/config").write_text(CONFIG + "".join(lines))
    demand(dvc(folder, "add", "models/base", "chunks.parquet"))
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "data")


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True)


def check_remote(remote: Remote) -> None:
    """Asserts that what is pushed comes back in a clone that had nothing, to the byte."""
    make_dvc_project(Path("first"), remote)
    output = demand(dvc(Path("first"), "push"))
    assert "4 files pushed" in output
    assert "Everything is up to date" in demand(dvc(Path("first"), "push"))
    git(Path(), "clone", "--quiet", "first", "second")
    demand(dvc(Path("second"), "pull"))
    for name in ("models/base/weights.bin", "models/base/config.json", "chunks.parquet"):
        assert Path("second", name).read_bytes() == Path("first", name).read_bytes()


def test_what_is_pushed_to_s3_comes_back(s3: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in make_aws_user(s3).items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir("books")
    check_remote(Remote("s3://books/dvc"))

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    Path("second/chunks.parquet").write_bytes(b"other chunks")
    demand(dvc(Path("second"), "add", "chunks.parquet"))
    code, output = dvc(Path("second"), "push")
    assert code != 0
    assert "403" in output


@pytest.mark.slow
def test_what_is_pushed_to_google_comes_back(
    google: Google, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google.account))
    check_remote(Remote("gs://books/dvc", {"projectname": "kitchen"}))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("npm"), reason="npm, which brings Azurite, is not installed")
def test_what_is_pushed_to_azure_comes_back(azure: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in azure_connection(azure, ACCOUNT_KEY).items():
        monkeypatch.setenv(name, value)
    check_remote(Remote("azure://books/dvc"))


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    """OpenSSH's own server, which lets this user in with a key, and a folder on it."""
    keys = tmp_path / "keys"
    keys.mkdir()
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)]
        subprocess.run(command, check=True)
    (port,) = free_ports(1)
    settings = {
        "ListenAddress": "127.0.0.1",
        "HostKey": keys / "host",
        "AuthorizedKeysFile": keys / "user.pub",
        "PidFile": keys / "pid",
        "PasswordAuthentication": "no",
        "StrictModes": "no",
        "Subsystem": "sftp internal-sftp",
    }
    config = keys / "sshd_config"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    (tmp_path / "store").mkdir()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it locks up its unprivileged part
    with run_server([SSHD, "-D", "-e", "-f", str(config), "-p", str(port)], port):
        url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{tmp_path}/store"
        yield Remote(url, {"keyfile": str(keys / "user")})


@pytest.mark.skipif(not Path(SSHD).exists(), reason=f"no {SSHD}: apt-get install openssh-server")
def test_what_is_pushed_by_ssh_comes_back(sshd: Remote) -> None:
    check_remote(sshd)
