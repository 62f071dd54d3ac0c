"""Certificates of an authority of the test's own, and a real nginx with the handbook's settings."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import trustme

from pipelines.system import processes
from tests.serving.conftest import ROOT

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
NO_NGINX = "nginx is not installed (apt-get install nginx-light)"
HANDBOOK = ROOT / "data/raw/handbook/gateway.md"
NAME = "assistant.example.com"


class Certificate(NamedTuple):
    """Files in PEM form, and the authority that has signed the certificate."""

    path: Path
    key: Path
    authority: Path


def issue_certificate(folder: Path) -> Certificate:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost", NAME)
    files = Certificate(folder / "chain.pem", folder / "key.pem", folder / "authority.pem")
    files.path.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(files.key)
    authority.cert_pem.write_to_path(files.authority)
    return files


@contextmanager
def run_nginx(url: str, certificate: Certificate, folder: Path) -> Iterator[str]:
    """nginx with the settings of the handbook, on a free port; gives its address."""
    (port,) = processes.free_ports(1)
    (server,) = re.findall(r"```nginx\n(.*?)```", HANDBOOK.read_text(), re.DOTALL)
    for old, new in {
        "listen 443 ": f"listen 127.0.0.1:{port} ",
        "/etc/ssl/assistant.pem": str(certificate.path),
        "/etc/ssl/assistant.key": str(certificate.key),
        "http://127.0.0.1:8100": url,
    }.items():
        assert old in server
        server = server.replace(old, new)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = folder / "nginx.conf"
    path.write_text(
        f"pid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{server}}}\n"
    )
    assert NGINX is not None
    command = [NGINX, "-c", str(path), "-e", f"{folder}/error.log", "-g", "daemon off; user root;"]
    nginx = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 20
        while processes.is_free(port):
            is_hopeless = nginx.poll() is not None or time.monotonic() > deadline
            assert not is_hopeless, (folder / "error.log").read_text()
            time.sleep(0.05)
        yield f"https://127.0.0.1:{port}"
    finally:
        nginx.terminate()
        nginx.wait(20)
