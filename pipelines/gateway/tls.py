"""The certificate files of `gateway.tls_certificate` and `gateway.tls_key`."""

import ssl
from pathlib import Path

from pipelines.config.gateway import GatewayConfig
from pipelines.errors import UserError


def check(config: GatewayConfig) -> None:
    """Raises UserError, with the setting's name, if the files cannot be used together."""
    if config.tls_certificate is None or config.tls_key is None:
        return
    names = {
        "gateway.tls_certificate": config.tls_certificate,
        "gateway.tls_key": config.tls_key,
    }
    for name, path in names.items():
        if not Path(path).is_file():
            raise UserError(f"params.yaml: {name}: there is no file {path}")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # An empty password, so that OpenSSL does not ask for it on the terminal.
        context.load_cert_chain(config.tls_certificate, config.tls_key, password="")
    except (OSError, ValueError) as error:
        raise UserError(
            f"params.yaml: gateway.tls_certificate and gateway.tls_key: {config.tls_certificate} "
            f"and {config.tls_key} are no certificate and its private key (PEM, without a "
            f"password): {error}"
        ) from error
