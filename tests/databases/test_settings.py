"""What fleet.toml may say about databases, and where passwords come from."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.aws import client
from chalicelib.config import fleet
from chalicelib.config.declared import Fleet
from chalicelib.context import RegionContext
from chalicelib.databases import connect, operations
from chalicelib.engine import run as engine
from chalicelib.mysql.secrets import KEPT, Login, SecretError, Secrets
from testing.fakes import MemoryTable, MemoryTopic

BASE = """
name = "lamplighter"
regions = [{name = "eu-west-1"}, {name = "us-east-1"}]
coordination.regions = ["eu-west-1"]
[databases]
flavour = "mariadb"
primary = "eu-west-1"
secret = "watch"
admin_secret = "admin"
MORE
[[databases.servers]]
region = "eu-west-1"
host = "db.eu"
[[databases.servers]]
region = "us-east-1"
host = "db.us"
SERVER
"""


def parsed(more: str = "", server: str = "", base: str = BASE) -> Fleet:
    return fleet.parse(base.replace("MORE", more).replace("SERVER", server))


def test_the_smallest_that_is_good() -> None:
    found = parsed().databases
    assert found and found.server("us-east-1") and found.server("ap-southeast-1") is None
    assert (found.repair, found.tls, found.stale, found.lag_alarm) == ("observe", "required", 300, 60)


@pytest.mark.parametrize("more, server, line, said", [
    ('repair = "full"', "", 0, ""),
    ('stale = "2m"', "", 10, "databases.stale: must lie between 3m and 1d"),
    ('lag_alarm = "1s"', "", 10, "databases.lag_alarm: must lie between 5s and 1d"),
    ('timeout = "11s"', "", 10, "databases.timeout: must lie between 1s and 10s"),
    ('tls = "off"\nca = "x.pem"', "", 11, "databases.ca: only used with tls"),
    ('heartbeat = "beat"', "", 10, "databases.heartbeat"),
    ('heartbeat = "a.b`; DROP TABLE x"', "", 10, "databases.heartbeat"),
    ("", 'remote_address = "db.example.org"', 17,
     "databases.servers.1.remote_address: 'db.example.org' is no address. Write host:port"),
    ("", 'replication_source = "tunnels:99999"', 17, "databases.servers.1.replication_source"),
    ("", "port = 0", 17, "databases.servers.1.port"),
    ("", '[[databases.servers]]\nregion = "ap-south-1"\nhost = "x"', 18, "'ap-south-1' is no region of this fleet"),
    ("", '[[databases.servers]]\nregion = "eu-west-1"\nhost = "x"', 12, "eu-west-1 has more than one server"),
])
def test_a_mistake_is_named_with_its_line_and_remedy(more: str, server: str, line: int, said: str) -> None:
    if not said:
        assert parsed(more, server).databases
        return
    with pytest.raises(fleet.FleetError) as mistake:
        parsed(more, server)
    assert f"fleet.toml:{line}: " in str(mistake.value) and said in str(mistake.value)


@pytest.mark.parametrize("old, new, said", [
    ('primary = "eu-west-1"', 'primary = "ap-south-1"', "'ap-south-1' has no [[databases.servers]]"),
    ('admin_secret = "admin"\nMORE', 'repair = "full"', "full needs admin_secret"),
    ('[databases]', 'tunnels.primary = "us-east-1"\n[databases]', "the tunnels lead to us-east-1. Name the same"),
    ('flavour = "mariadb"', 'flavour = "postgres"', "databases.flavour")])
def test_what_does_not_fit_together(old: str, new: str, said: str) -> None:
    with pytest.raises(fleet.FleetError) as mistake:
        parsed(base=BASE.replace(old, new))
    assert said in str(mistake.value)


class Manager:
    """boto3's client for Secrets Manager with one secret."""

    def __init__(self, text: str) -> None:
        self.text, self.version, self.asked = text, "1", 0

    def get_secret_value(self, SecretId: str) -> dict[str, str]:
        self.asked += 1
        if not self.text:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": "no"}}, "GetSecretValue")
        return {"SecretString": self.text, "VersionId": self.version}


def secrets(patch: pytest.MonkeyPatch, text: str, now: list[float] | None = None) -> tuple[Secrets, Manager]:
    manager, times = Manager(text), now or [0.0]
    patch.setattr(client, "client", lambda service, region: {"secretsmanager": manager}[service])
    return Secrets("eu-west-1", lambda: times[0]), manager


GOOD = json.dumps({"username": "watch", "password": "s3cret", "engine": "mysql", "port": 3306})


def test_a_login_is_kept_for_five_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    found, manager = secrets(monkeypatch, GOOD, now)
    assert found.login("a") == found.login("a") == Login("watch", "s3cret", "", "1") and manager.asked == 1
    now[0] = KEPT
    found.login("a")
    assert manager.asked == 2


def test_a_login_that_was_denied_is_looked_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found, manager = secrets(monkeypatch, GOOD)
    denied = found.login("a")
    manager.text, manager.version = GOOD.replace("s3cret", "newer"), "2"
    assert found.login("a", denied) == Login("watch", "newer", "", "2")
    assert found.login("a").password == "newer" and manager.asked == 2


def test_while_secrets_manager_is_away_the_last_login_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    found, manager = secrets(monkeypatch, GOOD, now)

    def away(SecretId: str) -> Any:
        raise client.Unavailable("eu-west-1: no answer")

    before = found.login("a")
    monkeypatch.setattr(manager, "get_secret_value", away)
    now[0] = 10 * KEPT
    assert found.login("a") == found.login("a", before) == before
    with pytest.raises(SecretError, match="Secrets Manager does not answer"):
        found.login("never seen")


@pytest.mark.parametrize("text, said", [
    ("", "ResourceNotFoundException. Create it"), ("s3cret", "not of the shape"), ('{"username": "s3cret"}', "not of"),
    ('{"username": "u", "password": 7, "note": "s3cret"}', "not of the shape")])
def test_a_secret_that_cannot_be_used_is_named_and_not_shown(
    text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = secrets(monkeypatch, text)
    with pytest.raises(SecretError) as error:
        found.login("lamplighter/watch")
    assert said in str(error.value) and "'lamplighter/watch' in eu-west-1" in str(error.value)
    assert "s3cret" not in str(error.value)


def site(declared: Fleet, region: str = "eu-west-1") -> RegionContext:
    return RegionContext(region, "test", declared, MemoryTable(), MemoryTable(), {}, MemoryTopic())


def ask(name: str, where: RegionContext, **event: Any) -> dict[str, Any]:
    operation = next(one for one in operations.ALL if one.name == f"databases.{name}")
    return engine.run(operation, where, event, "hand")


@pytest.mark.parametrize("name", ["watch", "heal", "tune", "fence", "promote", "status"])
def test_without_databases_every_operation_is_refused_with_the_remedy(name: str) -> None:
    bare = fleet.parse(BASE.split("[databases]")[0])
    answer = ask(name, site(bare))
    assert answer["status"] == "refused" and "has no [databases]. Add it" in answer["message"]


@pytest.mark.parametrize("name", ["watch", "heal"])
def test_a_region_without_a_server_has_nothing_to_do(name: str) -> None:
    more = parsed(base=BASE.replace('{name = "us-east-1"}', '{name = "us-east-1"}, {name = "ap-south-1"}'))
    answer = ask(name, site(more, "ap-south-1"))
    assert answer["status"] == "planned" and answer["plan"].get("actions", ()) == ()


def test_a_secret_that_is_missing_is_a_trouble_and_the_region_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets(monkeypatch, "")
    connect._secrets.cache_clear()
    where = site(parsed())
    answer = ask("watch", where, apply=True)
    assert answer["status"] == "done", answer
    item = where.local_store.get("readiness", "database")
    assert item and not item.body["ready"] and "ResourceNotFoundException" in item.body["why"]
    assert "secret 'watch' in eu-west-1" in ask("status", where)["plan"]["report"]["here"]["why"]


def test_a_promotion_takes_nothing_that_it_does_not_know() -> None:
    answer = ask("promote", site(parsed()), regoin="us-east-1")
    assert answer["status"] == "refused" and "It takes: region, force" in answer["message"]
