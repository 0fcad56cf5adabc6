"""Rogue servers x plugins x modes of TLS: no password in clear text without verified TLS, and never a file."""

from pathlib import Path

import msgspec
import pytest

from chalicelib.config.databases import Databases, Server
from chalicelib.config.durations import Duration
from chalicelib.mysql.connection import DatabaseError, Place, session
from chalicelib.mysql.secrets import Login
from testing.servers.rogue import Heard, Rogue, rogue
from tests.mysql.test_connection import Certificates

PASSWORD = "s3cret-password"
LOGIN = Login("watch", PASSWORD, version="1")
SETTINGS = Databases("mariadb", "eu-west-1", "watch", (Server("eu-west-1", "db"),), tls="off", timeout=Duration(1))
# How each plugin gets a client to hand over its password.
PLUGINS = {
    "mysql_clear_password": Rogue(switch="mysql_clear_password"),
    "dialog": Rogue(switch="dialog", challenge=b"\x03Password: "),
    "greets with dialog": Rogue(
        plugin="dialog", switch="dialog", challenge=b"\x02Password: ", then=(b"\x03Password: ",)),
    "greets with mysql_clear_password": Rogue(plugin="mysql_clear_password", switch="mysql_clear_password"),
    "mysql_old_password": Rogue(switch="mysql_old_password"),
    "sha256_password": Rogue(switch="sha256_password"),
    "greets with sha256_password": Rogue(plugin="sha256_password"),
    "caching_sha2_password": Rogue(switch="caching_sha2_password", then=(b"\x01\x04",)),
    "greets with caching_sha2_password": Rogue(plugin="caching_sha2_password", then=(b"\x01\x04",)),
}
# Each mode, and whether the server has a certificate, and the right one.
MODES = {
    "off": ("off", "none"), "preferred, without TLS": ("preferred", "none"),
    "preferred, any certificate": ("preferred", "strange"), "required, without TLS": ("required", "none"),
    "required, a stranger's certificate": ("required", "strange"), "required, verified": ("required", "right")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities with a certificate each for db.example.org."""
    made = tmp_path_factory.mktemp("rogue")
    for name in ("right", "strange"):
        (made / name).mkdir()
        Certificates(made / name, "db.example.org")
        both = (made / name / "cert.pem").read_text() + (made / name / "key.pem").read_text()
        (made / name / "both.pem").write_text(both)
    return made


def meet(folder: Path, how: Rogue, mode: str, statement: str = "SELECT 1") -> tuple[Heard, DatabaseError | None]:
    """What the rogue has heard, and how the session ended."""
    tls, certificate = MODES[mode]
    if certificate != "none":
        how = msgspec.structs.replace(how, certificate=str(folder / certificate / "both.pem"))
    ca = str(folder / "right/ca.pem") if tls == "required" else None
    settings = msgspec.structs.replace(SETTINGS, tls=tls, ca=ca)
    with rogue(how) as (address, heard):
        place = Place("eu-west-1", *address, "db.example.org")
        try:
            with session(place, LOGIN, settings, Path("/"), 2) as talk:
                talk.rows(statement)
        except DatabaseError as error:
            return heard, error
    return heard, None


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_password_goes_in_clear_text_through_verified_tls_alone(folder: Path, plugin: str, mode: str) -> None:
    heard, error = meet(folder, PLUGINS[plugin], mode)
    if mode != "required, verified":
        assert PASSWORD.encode() not in heard.all, "it came in clear text"
        if "clear" in plugin or "dialog" in plugin:
            assert error and not heard.logged_in
    if error:
        assert PASSWORD not in str(error)
        assert error.trouble.kind in ("denied", "tls", "garbled", "setup", "unreachable", "sql")


def test_the_remedy_names_tls_and_the_plugin(folder: Path) -> None:
    _, error = meet(folder, PLUGINS["mysql_clear_password"], "off")
    assert error and error.trouble.kind == "tls"
    assert "mysql_clear_password" in str(error) and 'tls = "required"' in str(error)


def test_the_rogue_hears_a_clear_password_where_it_may(folder: Path) -> None:
    heard, error = meet(folder, PLUGINS["mysql_clear_password"], "required, verified")
    assert error is None and heard.logged_in and PASSWORD.encode() in heard.all


@pytest.mark.parametrize("mode", ["off", "preferred, any certificate", "required, verified"])
@pytest.mark.parametrize("statement", ["SELECT 1", "LOAD DATA LOCAL INFILE 'x' INTO TABLE t"])
def test_a_server_that_asks_for_a_file_gets_none(folder: Path, tmp_path: Path, mode: str, statement: str) -> None:
    file = tmp_path / "secret"
    file.write_text("the content of a file")
    heard, error = meet(folder, Rogue(query=b"\xfb" + str(file).encode()), mode, statement)
    assert heard.logged_in and error and error.trouble.kind == "garbled"
    assert b"the content of a file" not in heard.all
