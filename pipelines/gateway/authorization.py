"""The key of a request, or what its token amounts to, which Front has checked, for the routes."""

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from pipelines.gateway.api_errors import Forbidden
from pipelines.gateway.keys import Key, Role

# Names the key in the API's description.
BEARER = "a key: ak-..., or a token of the issuer that gateway.oidc names"
KEY_SCHEME = [Depends(HTTPBearer(auto_error=False, description=BEARER))]


def key_of(request: Request) -> Key:
    key = request.state.key
    assert isinstance(key, Key)
    return key


def check_operator(request: Request) -> None:
    """Raises Forbidden."""
    if not key_of(request).may(Role.OPERATOR):
        raise Forbidden("this takes the role operator", code="role")
