"""A real OpenID provider's two documents on a free port of this machine, and tokens of its keys."""

import functools
import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, Key, KeySet, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from pipelines.gateway.issuer_keys import DISCOVERY
from tests.gateway.proxies import Certificate

AUDIENCE = "assistant"
JWKS = "/keys"
HOUR = 3600


class Issuer:
    """What it serves may be changed while it runs. `num_requests` counts by path."""

    def __init__(self, url: str):
        self.url = url
        self.keys: list[Key] = [new_key("first")]
        self.discovery: dict[str, Any] = {"issuer": url, "jwks_uri": url + JWKS}
        self.contents: dict[str, bytes] = {}  # by path, instead of the documents
        self.headers: dict[str, str] = {}
        self.status = 200
        self.delay_seconds = 0.0
        self.num_requests: Counter[str] = Counter()

    def content(self, path: str) -> bytes:
        if path in self.contents:
            return self.contents[path]
        if path == DISCOVERY:
            return json.dumps(self.discovery).encode()
        return json.dumps(KeySet(self.keys).as_dict(private=False)).encode()

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Those of a good token; None leaves a claim out."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ada",
            "iat": now,
            "exp": now + HOUR,
            "team": "shop",
            "groups": ["askers"],
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, **changes: Any) -> str:
        return sign(self.claims(**changes), self.keys[0])


@functools.cache
def new_key(name: str, kind: str = "RSA") -> Key:
    parameters: Any = {"kid": name, "use": "sig"}
    if kind == "RSA":
        return RSAKey.generate_key(2048, parameters)
    if kind == "Ed25519":
        return OKPKey.generate_key("Ed25519", parameters)
    return ECKey.generate_key(kind, parameters)


def sign(claims: dict[str, Any], key: Key, **header: Any) -> str:
    """A token; a header of None is left out."""
    algorithm = "RS256" if isinstance(key, RSAKey) else "ES256"
    fields = {"alg": algorithm, "kid": key.kid, **header}
    fields = {name: value for name, value in fields.items() if value is not None}
    registry = JWSRegistry(algorithms=[fields["alg"]], strict_check_header=False)
    return jwt.encode(fields, claims, key, registry=registry)


def settings(url: str, **changes: Any) -> dict[str, Any]:
    """The section `gateway.oidc`."""
    return {
        "issuer": url,
        "audience": AUDIENCE,
        "tenant_claim": ["team"],
        "role_claim": ["groups"],
        "roles": {"askers": "asker", "reviewers": "reviewer", "operators": "operator"},
        "default_role": None,
        "algorithms": None,
        "leeway_seconds": 0,
        "keys_seconds": 600.0,
        **changes,
    }


@contextmanager
def run_issuer(port: int = 0, certificate: Certificate | None = None) -> Iterator[Issuer]:
    """Serve until the block ends. With a certificate by https."""
    issuer: Issuer | None = None

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert issuer is not None
            issuer.num_requests[self.path] += 1
            time.sleep(issuer.delay_seconds)
            content = issuer.content(self.path)
            self.send_response(issuer.status)
            for name, value in issuer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_arguments: Any) -> None:
            """A client that hangs up in the middle is what some tests are about."""

    with Server(("127.0.0.1", port), Handler) as server:
        scheme = "http"
        if certificate is not None:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.path, certificate.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        issuer = Issuer(f"{scheme}://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
