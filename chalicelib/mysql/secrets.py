"""Users and passwords, from each region's Secrets Manager. None of them is ever printed."""

import time
from collections.abc import Callable

import msgspec

from chalicelib import foreign
from chalicelib.aws import client

# Between two looks into Secrets Manager (s): each costs money, and a login that is denied looks at once.
KEPT = 300


class SecretError(Exception):
    """A secret is not there or not of our shape. The text names it and the remedy, never its content."""


class Login(msgspec.Struct, frozen=True):
    """A user and its password. `version` is the secret's. `ca` certificates to trust (PEM), where it has some."""

    user: str
    password: str
    ca: str = ""
    version: str = ""

    def __repr__(self) -> str:
        return f"Login(user={self.user!r}, version={self.version!r})"

    __str__ = __repr__


class _Said(msgspec.Struct):
    """The JSON that Amazon RDS writes, too. Other keys of it are passed over."""

    username: str
    password: str
    ca: str = ""


class Secrets:
    """The logins of one region, each kept for five minutes."""

    def __init__(self, region: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._region, self._clock = region, clock
        self._kept: dict[str, tuple[Login, float]] = {}

    def login(self, name: str, denied: Login | None = None) -> Login:
        """The login that secret `name` holds. If the server `denied` the login, it is looked up anew.

        While Secrets Manager gives no answer, an old login is used, because it may well be right.
        """
        kept = self._kept.get(name)
        if kept and kept[0] != denied and self._clock() < kept[1] + KEPT:
            return kept[0]
        try:
            self._kept[name] = self._fetch(name), self._clock()
        except client.Unavailable as error:
            if not kept:
                where = f"secret {name!r} in {self._region}"
                raise SecretError(
                    f"Secrets Manager does not answer for {where}. Try again, or in another region ({error})") from None
        return self._kept[name][0]

    def _fetch(self, name: str) -> Login:
        where = f"secret {name!r} in {self._region}"
        try:
            answer = client.aws_call(self._region,
                                     lambda: client.client("secretsmanager", self._region).get_secret_value(
                SecretId=name))
        except client.ClientError as error:
            raise SecretError(f"{where}: {error.response.get('Error', {}).get('Code')}. Create it, and let this Lambda "
                              "call secretsmanager:GetSecretValue on it") from None
        try:
            said: _Said = foreign.decode(answer.get("SecretString", ""), _Said)
        except foreign.Undecodable:
            # The library's text quotes what it could not read.
            raise SecretError(f'{where}: not of the shape {{"username": "...", "password": "..."}}') from None
        return Login(said.username, said.password, said.ca, str(answer.get("VersionId", "")))
