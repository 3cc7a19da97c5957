"""A small OpenID Connect provider on a loopback port: it knows one person and signs real ID tokens."""

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode

import uvicorn
from fastapi import FastAPI, Request
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.responses import JSONResponse, RedirectResponse, Response

CLIENT, SECRET = "backbeat-test", "a secret of the test's"


class SmallProvider:
    """What it says can be bent by a test: ``claims`` are put over those of the ID token, ``key`` signs it."""

    def __init__(self) -> None:
        self.key = self.own = RSAKey.generate_key(2048, parameters={"kid": "one"})
        self.claims: dict[str, Any] = {}
        self.algorithm = "RS256"
        self.issuer = ""
        self.asked: list[dict[str, str]] = []
        self._codes: dict[str, dict[str, str]] = {}

    def app(self) -> FastAPI:
        """Discovery, keys, authorization without asking anybody, and tokens."""
        app = FastAPI(openapi_url=None)

        @app.get("/.well-known/openid-configuration")
        def configuration() -> dict[str, Any]:
            return {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "id_token_signing_alg_values_supported": ["RS256"],
            }

        @app.get("/keys")
        def keys() -> dict[str, Any]:
            return {"keys": [self.own.as_dict(private=False)]}

        @app.get("/authorize")
        def authorize(request: Request) -> Response:
            asked = dict(request.query_params)
            assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
            self.asked.append(asked)
            code = secrets.token_urlsafe(8)
            self._codes[code] = asked
            return RedirectResponse(
                f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}", 303
            )

        @app.post("/token")
        async def token(request: Request) -> Response:
            given = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
            expected = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
            asked = self._codes.pop(given.get("code", ""), None)
            proof = base64.urlsafe_b64encode(hashlib.sha256(given["code_verifier"].encode()).digest()).rstrip(b"=")
            if request.headers.get("authorization") != f"Basic {expected}" or asked is None:
                return JSONResponse({"error": "invalid_grant"}, 400)
            if proof.decode() != asked["code_challenge"] or given["redirect_uri"] != asked["redirect_uri"]:
                return JSONResponse({"error": "invalid_grant"}, 400)
            return JSONResponse(
                {
                    "access_token": "a",
                    "token_type": "Bearer",
                    "expires_in": 60,
                    "id_token": self._signed(asked["nonce"]),
                }
            )

        return app

    def _signed(self, nonce: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": "person-1",
            "aud": CLIENT,
            "exp": now + 60,
            "iat": now,
            "nonce": nonce,
            "preferred_username": "grace",
            "roles": ["engineer"],
            **self.claims,
        }
        return jwt.encode({"alg": self.algorithm, "kid": "one"}, claims, self.key)


@contextmanager
def running() -> Iterator[SmallProvider]:
    """The provider, for the length of the block."""
    provider = SmallProvider()
    server = uvicorn.Server(uvicorn.Config(provider.app(), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    provider.issuer = f"http://127.0.0.1:{port}"
    try:
        yield provider
    finally:
        server.should_exit = True
        thread.join(5)
