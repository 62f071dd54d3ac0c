"""The gateway with certificate files, and limits by address behind a real nginx."""

import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import httpx
import pytest
import trustme

from pipelines.errors import UserError
from pipelines.gateway import process, tls
from tests.conftest import enter_new_clone
from tests.gateway.conftest import GENEROUS, gateway_config, run_gateway
from tests.gateway.proxies import NGINX, NO_NGINX, Certificate, run_nginx

LIMITS = {"failed_keys_per_minute": 2, "key": GENEROUS, "tenant": GENEROUS}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with enter_new_clone(tmp_path_factory.mktemp("tls") / "clone") as folder:
        yield folder


@pytest.fixture(scope="module")
def encrypted_url(clone: Path, certificate: Certificate) -> Iterator[str]:
    """A gateway with TLS."""
    files = {"tls_certificate": str(certificate.path), "tls_key": str(certificate.key)}
    with run_gateway(**files) as url:
        yield url


def test_plain_http_and_old_versions_of_tls_get_no_answer(encrypted_url: str) -> None:
    address = urlparse(encrypted_url)
    target = (address.hostname or "", address.port or 0)
    with socket.create_connection(target, timeout=20) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" not in connection.recv(4096)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(target, timeout=20) as connection,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(connection)


def test_serve_knows_its_own_gateway_by_the_certificate(
    encrypted_url: str, certificate: Certificate, tmp_path: Path
) -> None:
    port = urlparse(encrypted_url).port
    files = {"tls_certificate": str(certificate.path), "tls_key": str(certificate.key)}
    config = gateway_config(port=port, **files)
    assert process.url(config) == encrypted_url
    assert process._is_healthy(config)
    stranger = tmp_path / "stranger.pem"
    trustme.CA().issue_cert("127.0.0.1").cert_chain_pems[0].write_to_path(stranger)
    files["tls_certificate"] = str(stranger)
    assert not process._is_healthy(gateway_config(port=port, **files))


def test_files_that_are_no_pair_are_named(certificate: Certificate, tmp_path: Path) -> None:
    def problem(path: Path, key: Path) -> str:
        with pytest.raises(UserError) as caught:
            tls.check(gateway_config(tls_certificate=str(path), tls_key=str(key)))
        return str(caught.value)

    other_key = tmp_path / "other.pem"
    trustme.CA().issue_cert("x").private_key_pem.write_to_path(other_key)
    locked_key = tmp_path / "locked.pem"
    command = ["openssl", "pkey", "-in", str(certificate.key), "-aes256", "-passout", "pass:x"]
    subprocess.run([*command, "-out", str(locked_key)], check=True)
    missing = tmp_path / "missing.pem"
    assert "gateway.tls_key: there is no file" in problem(certificate.path, missing)
    assert "gateway.tls_certificate: there is no file" in problem(missing, certificate.key)
    for key in (other_key, locked_key, certificate.path):
        assert "are no certificate and its private key" in problem(certificate.path, key)
    with pytest.raises(ValueError, match="are set together"):
        gateway_config(tls_certificate="x")


def failure(url: str, certificate: Certificate, source: str, forwarded: str | None = None) -> int:
    """The status of a wrong key that comes from an address of this machine."""
    headers = {"Authorization": "Bearer ak-guess"}
    if forwarded:
        headers["X-Forwarded-For"] = forwarded
    context = ssl.create_default_context(cafile=str(certificate.authority))
    transport = httpx.HTTPTransport(local_address=source, verify=context)
    with httpx.Client(transport=transport) as browser:
        return browser.get(f"{url}/v1/models", headers=headers).status_code


@pytest.mark.skipif(NGINX is None, reason=NO_NGINX)
def test_behind_nginx_wrong_keys_are_counted_by_the_clients_own_address(
    clone: Path, certificate: Certificate, tmp_path: Path
) -> None:
    with (
        run_gateway(limits=LIMITS, trusted_proxies=["127.0.0.1"]) as inner,
        run_nginx(inner, certificate, tmp_path) as url,
    ):
        statuses = [failure(url, certificate, "127.0.0.2") for _ in range(3)]
        assert statuses == [401, 401, 429]
        # Another client is not held up, and the first gains nothing by a header of its own.
        assert failure(url, certificate, "127.0.0.3") == 401
        assert failure(url, certificate, "127.0.0.2", forwarded="198.51.100.7") == 429


def test_a_header_of_who_is_no_trusted_proxy_is_not_believed(
    clone: Path, certificate: Certificate
) -> None:
    with run_gateway(limits=LIMITS, trusted_proxies=["127.0.0.9"]) as url:
        statuses = [
            failure(url, certificate, "127.0.0.2", forwarded=f"198.51.100.{number}")
            for number in range(3)
        ]
        assert statuses == [401, 401, 429]
