"""Signing in through an OpenID Connect provider: authorization code with PKCE, and roles from a claim."""

import base64
import binascii
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from contracts.errors import BadInput, NotPermitted, NotSignedIn, ServiceUnavailable
from contracts.settings import Settings
from registry.web.access import ROLES

if TYPE_CHECKING:
    from authlib.integrations.httpx_client import OAuth2Client

__all__ = ["Provider", "Recognised", "Ticket", "role_among", "roles_of"]

_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Only signatures by a key that the provider keeps to itself."""

_PATIENCE_S: Final = 10.0
_LEEWAY_S: Final = 60
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Ticket:
    """What a browser has to bring back with the provider's answer; a cookie keeps it meanwhile."""

    state: str
    nonce: str
    verifier: str
    to: str
    """Path to go to then."""

    def text(self) -> str:
        """For the cookie."""
        return base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode()

    @classmethod
    def parse(cls, text: str) -> "Ticket | None":
        """From the cookie; None for anything else."""
        try:
            return cls(**{name: str(value) for name, value in json.loads(base64.urlsafe_b64decode(text)).items()})
        except (binascii.Error, ValueError, TypeError, AttributeError):
            return None


@dataclass(frozen=True)
class Recognised:
    """Whom the provider has recognised."""

    subject: str
    """Issuer and subject: never given to anybody else."""
    name: str
    role: str


class Provider:
    """The provider that the settings name.

    Args:
        settings: Issuer, client, claim and roles.
        back: Address that the provider sends browsers back to.

    Raises:
        BadInput: The issuer is no https address, or the roles cannot be read.
    """

    def __init__(self, settings: Settings, back: str) -> None:
        self._issuer = (settings.oidc_issuer or "").rstrip("/")
        parts = urlsplit(self._issuer)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise BadInput(
                "setting BACKBEAT_OIDC_ISSUER",
                found=repr(settings.oidc_issuer),
                expected="the https address of an OpenID Connect provider",
                next_step="correct BACKBEAT_OIDC_ISSUER",
            )
        self._roles = roles_of(settings)
        self._settings, self._back = settings, back
        self._known: dict[str, Any] | None = None

    def begin(self, to: str) -> tuple[str, Ticket]:
        """Where to send a browser, and what it has to bring back.

        Raises:
            ServiceUnavailable: The provider does not answer.
        """
        ticket = Ticket(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48), to)
        with self._client() as client:
            url, _ = client.create_authorization_url(
                self._metadata(client)["authorization_endpoint"],
                state=ticket.state,
                nonce=ticket.nonce,
                code_verifier=ticket.verifier,
            )
        return str(url), ticket

    def finish(self, ticket: Ticket, answer: Mapping[str, str]) -> Recognised:
        """Who it is.

        Args:
            ticket: What :meth:`begin` gave this browser.
            answer: The query that it came back with.

        Raises:
            NotSignedIn: The answer is not to this ticket, or the provider has said no.
            NotPermitted: The provider knows them and gives them no role.
            ServiceUnavailable: It does not answer.
        """
        if not secrets.compare_digest(answer.get("state", "").encode(), ticket.state.encode()):
            raise _refused("an answer to another attempt to sign in")
        if "code" not in answer:
            raise _refused(f"{answer.get('error', 'no code')} {answer.get('error_description', '')}".strip()[:300])
        with self._client() as client:
            metadata = self._metadata(client)
            token = self._exchange(client, metadata, answer["code"], ticket)
            keys = self._get(client, metadata["jwks_uri"])
        claims = self._verified(token, keys, metadata, ticket)
        name = claims.get("preferred_username") or claims.get("email") or claims["sub"]
        role = role_among(claims, self._settings.oidc_role_claim, self._roles)
        if role is None:
            raise NotPermitted(
                f"signing in as {name}",
                found=f"no value of the claim {self._settings.oidc_role_claim} that gives a role",
                expected=" or ".join(sorted(self._roles)),
                next_step="ask whoever runs the identity provider, or correct BACKBEAT_OIDC_ROLES",
            )
        return Recognised(f"{self._issuer} {claims['sub']}", str(name), role)

    def _exchange(
        self, client: "OAuth2Client", metadata: Mapping[str, Any], code: str, ticket: Ticket
    ) -> Mapping[str, Any]:
        from authlib.integrations.base_client import OAuthError

        with _answers(self._issuer):
            try:
                token: Mapping[str, Any] = client.fetch_token(
                    metadata["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=ticket.verifier,
                )
            except OAuthError as error:
                raise _refused(str(error)[:300]) from None
        return token

    def _verified(
        self, token: Mapping[str, Any], keys: Any, metadata: Mapping[str, Any], ticket: Ticket
    ) -> Mapping[str, Any]:
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet
        from joserfc.jws import JWSRegistry

        offered = metadata.get("id_token_signing_alg_values_supported", _ALGORITHMS)
        registry = JWSRegistry(algorithms=[name for name in _ALGORITHMS if name in offered], strict_check_header=False)
        try:
            decoded = jwt.decode(token.get("id_token", ""), KeySet.import_key_set(keys), registry=registry)
            claims: Mapping[str, Any] = CodeIDToken(
                decoded.claims,
                decoded.header,
                {
                    "iss": {"essential": True, "value": metadata["issuer"]},
                    "aud": {"essential": True, "value": self._settings.oidc_client_id},
                },
                {
                    "nonce": ticket.nonce,
                    "client_id": self._settings.oidc_client_id,
                    "access_token": token.get("access_token"),
                },
            )
            claims.validate(leeway=_LEEWAY_S)  # type: ignore[attr-defined]
        except (JoseError, ValueError) as error:
            raise _refused(f"an ID token that is not valid: {error}"[:300]) from None
        return claims

    def _metadata(self, client: "OAuth2Client") -> dict[str, Any]:
        if self._known is None:
            known = self._get(client, f"{self._issuer}/.well-known/openid-configuration")
            if str(known.get("issuer", "")).rstrip("/") != self._issuer:
                raise _unavailable(self._issuer, f"a provider that calls itself {known.get('issuer')!r:.200}")
            self._known = known
        return self._known

    def _get(self, client: "OAuth2Client", url: str) -> dict[str, Any]:
        with _answers(self._issuer):
            answer = client.request("GET", url, withhold_token=True)
            answer.raise_for_status()
            return dict(answer.json())

    @contextmanager
    def _client(self) -> "Iterator[OAuth2Client]":
        from authlib.integrations.httpx_client import OAuth2Client

        secret = self._settings.oidc_client_secret
        with OAuth2Client(
            client_id=self._settings.oidc_client_id,
            client_secret=None if secret is None else secret.get_secret_value(),
            token_endpoint_auth_method="none" if secret is None else "client_secret_basic",
            scope="openid profile email",
            redirect_uri=self._back,
            code_challenge_method="S256",
            timeout=_PATIENCE_S,
        ) as client:
            yield client


def roles_of(settings: Settings) -> dict[str, str]:
    """Value of the claim → role.

    Raises:
        BadInput: It is not ``value=role,value=role`` with our roles.
    """
    roles = {}
    for part in settings.oidc_roles.split(","):
        value, _, role = part.strip().rpartition("=")
        if not value or role not in ROLES:
            raise BadInput(
                "setting BACKBEAT_OIDC_ROLES",
                found=repr(part.strip()),
                expected=f"VALUE=ROLE, with one of the roles {', '.join(ROLES)}",
                next_step='set it to something like "ml-admins=admin,ml=engineer"',
            )
        roles[value] = role
    return roles


def role_among(claims: Mapping[str, Any], path: str, roles: Mapping[str, str]) -> str | None:
    """The highest role that a claim gives; None where it gives none.

    Args:
        claims: Of the ID token.
        path: Name of the claim; a claim of exactly that name goes before one a level down.
        roles: Of :func:`roles_of`.
    """
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for step in path.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
    values = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    given = [roles[value] for value in values if isinstance(value, str) and value in roles]
    return max(given, key=ROLES.index, default=None)


@contextmanager
def _answers(issuer: str) -> Iterator[None]:
    """Turn a provider that is away, or answers with something else, into an error of ours."""
    from httpx2 import HTTPError

    try:
        yield
    except (HTTPError, ValueError) as error:
        raise _unavailable(issuer, str(error)[:300] or type(error).__name__) from None


def _unavailable(issuer: str, found: str) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"identity provider {issuer}",
        found=found,
        expected="an OpenID Connect provider that answers",
        next_step="start it, or correct BACKBEAT_OIDC_ISSUER; accounts with a password go on working",
    )


def _refused(found: str) -> NotSignedIn:
    return NotSignedIn(
        "signing in through the identity provider",
        found=found,
        expected="a code and an ID token for this attempt",
        next_step="begin again at /login",
    )
