"""What the watch concludes, by tables: lag, readiness, what people are told, and when again."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.databases import decide
from chalicelib.databases.decide import conditions
from chalicelib.databases.decide.lag import lag
from chalicelib.databases.observation import FleetDatabases, WatchObservation
from chalicelib.databases.state import PrimaryRecord, Promotion, RegionReport, WatchState
from chalicelib.engine.plan import Plan
from chalicelib.engine.schema import ItemKey, Stored, Unreadable
from chalicelib.mysql import gtid
from chalicelib.mysql.status import ReplicaStatus, ReplicaThread, ServerError, ServerStatus
from tests.databases.harness import AP, EU, FLEET, REGIONS, US

NOW = 1_800_000_000.0
ON, OFF = ReplicaThread("running"), ReplicaThread("stopped")


def replica(beat: float | None = 5.0, io: ReplicaThread = ON, sql: ReplicaThread = ON, **more: Any) -> ServerStatus:
    """The server of us-east-1, with a heartbeat so many seconds old."""
    have = gtid.read("mariadb", "0-1-10")
    beats = {} if beat is None else {EU: NOW - beat}
    state = ServerStatus(US, "mariadb", "10.11-MariaDB", "2", True, have, NOW, NOW,
                  replication=ReplicaStatus(io, sql, "eu", 3306, True, have, seconds_behind_source=0), heartbeats=beats)
    return msgspec.structs.replace(state, **more)


def around(region: str = US, primary: PrimaryRecord | None = None, **more: Any) -> FleetDatabases:
    settings = FLEET.databases
    assert settings
    found = FleetDatabases(region, settings, REGIONS, NOW, primary or PrimaryRecord(EU), reports={EU: report()})
    return msgspec.structs.replace(found, **more)


def report(*beats: float, skew: float = 0.0) -> RegionReport:
    """What eu-west-1 has reported: heartbeats so many seconds old."""
    ages = beats or (65.0, 5.0)
    return RegionReport(
        NOW,
        True,
        False,
        0,
        False,
        gtid.read("mariadb", "0-1-10"),
        heartbeats=tuple(NOW - age for age in ages),
        skew=skew,
    )


OFFSETS = st.floats(-1e5, 1e5)


@pytest.mark.parametrize("seen, beats, least, most", [
    (5, (65, 5), 0, 5),            # it has the newest
    (65, (65, 5), 5, 65),          # it lacks the newest
    (125, (185, 125, 65, 5), 65, 125),
    (3700, (185, 125, 65, 5), 185, 3700),  # older beats are forgotten: certain is less than true
    (0, (60, 0), 0, 0),
])
def test_lag_by_the_heartbeat(seen: float, beats: tuple[float, ...], least: float, most: float) -> None:
    found = lag(replica(seen), EU, report(*beats))
    assert [found.at_least, found.at_most] == pytest.approx([least, most]) and found.by == "heartbeat"


@pytest.mark.slow
@given(st.lists(st.floats(1, 170), min_size=1, max_size=6), st.floats(0, 400), OFFSETS, OFFSETS)
def test_lag_is_bounded_and_no_clock_but_the_primaries_matters(
    gaps: list[float], applied: float, skew: float, own: float
) -> None:
    """The true lag: the age of the oldest write that is not applied; it lies between the two, whatever clocks say."""
    beats = [NOW - sum(gaps[:count]) for count in range(len(gaps), 0, -1)] + [NOW]
    seen = max((beat for beat in beats if beat <= NOW - applied), default=None)
    if seen is None:
        return
    shifted = msgspec.structs.replace(report(), heartbeats=tuple(beat + skew for beat in beats), skew=skew)
    state = replica(None, heartbeats={EU: seen + skew}, clock=NOW + own)
    found = lag(state, EU, shifted)
    assert found.at_least is not None and found.at_most is not None
    assert found.at_least - 0.01 <= applied <= found.at_most + 0.01


@pytest.mark.parametrize("state, behind", [
    (replica(5), 0.0), (replica(None), 0.0), (replica(5, io=OFF), None), (replica(5, sql=OFF), None),
    (replica(5, io=ReplicaThread("connecting")), None)])
def test_without_a_heart_seconds_behind_counts_only_while_both_threads_run(
    state: ServerStatus, behind: float | None
) -> None:
    for silent in (None, report(400.0)):
        found = lag(state, EU, silent)
        assert (found.at_least, found.at_most, found.by) == (behind, behind, "seconds_behind")


@pytest.mark.parametrize("view, look, ready, why", [
    (around(), replica(), True, "at most 5 s behind, by heartbeat"),
    (around(), replica(299), True, "at most 299 s behind"),
    (around(), replica(300), False, "may be 300 s behind, and the limit is 300 s"),
    (around(), replica(5, sql=OFF), True, "at most 5 s behind"),
    (around(reports={}), replica(5), True, "at most 0 s behind, by seconds_behind"),
    (around(reports={}), replica(5, sql=OFF), False, "lag is unknown"),
    (around(), ServerError("silent", "us-east-1 (us:1)", "gave no answer"), False, "us-east-1 (us:1): gave no answer"),
    (around(EU), replica(region=EU, replication=None, read_only=False), True, "is the primary"),
    (around(EU), replica(region=EU, replication=None), False, "is the primary, but read-only"),
    (around(EU, PrimaryRecord(EU, 1, fenced=(EU,))), replica(region=EU, replication=None), False, "is fenced"),
    (around(EU, PrimaryRecord(US, 1, fenced=(EU,))), replica(region=EU, replication=None), False, "does not replicate"),
])
def test_readiness(view: FleetDatabases, look: ServerStatus | ServerError, ready: bool, why: str) -> None:
    found = conditions.ready(view, look)
    assert found.ready == ready and why in found.why


DUPLICATE = ReplicaThread("stopped", 1062, "Duplicate entry '1'")


@pytest.mark.parametrize(
    "view, look, kinds",
    [
        (around(), replica(), []),
        (around(), replica(5, io=OFF), ["IOThreadStopped"]),
        (around(), replica(5, OFF, DUPLICATE), ["IOThreadStopped", "SQLThreadStopped"]),
        (around(reports={EU: report(125, 65, 5)}), replica(125), ["ReplicaLag"]),
        (around(reports={EU: report(125, 65, 5)}), replica(301), ["ReplicaLag", "ReplicaStale"]),
        (around(reports={EU: report(400.0)}), replica(), ["NoHeartbeat"]),
        (around(reports={}), replica(), ["NoHeartbeat"]),
        (around(reports={}, sure=False), replica(), []),
        (around(), replica(None, heartbeat_error="no such table; make it"), ["HeartbeatMissing"]),
        (around(), replica(read_only=False), ["ReplicaWritable"]),
        (around(), replica(replication=None), ["NotReplicating"]),
        (around(), ServerError("denied", "us", "no"), ["DatabaseUnreachable"]),
        (
            around(US, PrimaryRecord(AP, 1, fenced=(EU,)), reports={AP: report()}),
            replica(None, heartbeats={AP: NOW - 5}),
            ["WrongSource"],
        ),
        (
            around(US, PrimaryRecord(AP, 1, fenced=(US,)), reports={AP: report()}),
            replica(None, heartbeats={AP: NOW - 5}, read_only=False, replication=None),
            ["SplitBrain", "NotReplicating"],
        ),
        (around(EU), replica(region=EU, replication=None, read_only=False), []),
        (around(EU), replica(region=EU, replication=None), ["PrimaryReadOnly"]),
        (around(EU), replica(region=EU, read_only=False), ["PrimaryReplicates"]),
        (around(EU), replica(region=EU, replication=None, read_only=False, heartbeat_error="denied"),
         ["HeartbeatMissing"]),
        (
            around(EU, PrimaryRecord(EU, 1, fenced=(EU,))),
            replica(region=EU, replication=None, read_only=False),
            ["SplitBrain"],
        ),
        (
            around(US, PrimaryRecord(EU, 1, promotion=Promotion(US, EU, "fenced", int(NOW) - 601))),
            replica(),
            ["PromotionUnfinished"],
        ),
        (around(US, PrimaryRecord(EU, 1, promotion=Promotion(US, EU, "fenced", int(NOW) - 599))), replica(), []),
        (around(US, PrimaryRecord(EU, 1, promotion=Promotion(US, EU, "drained", int(NOW) - 9))), replica(5, OFF, OFF),
         []),
        (around(US, PrimaryRecord(EU, 1, promotion=Promotion(US, EU, "drained", int(NOW) - 9))),
         replica(replication=None), []),
        (around(US, PrimaryRecord(EU, 1, promotion=Promotion(AP, EU, "drained", int(NOW) - 9))), replica(5, OFF),
         ["IOThreadStopped"]),
        (around(US, PrimaryRecord(EU, 1, promotion=Promotion(US, EU, "drained", int(NOW) - 601))), replica(5, OFF),
         ["PromotionUnfinished", "IOThreadStopped"]),
        (around(sure=False), replica(read_only=False), []),
        (around(sure=False), replica(read_only=False, replication=None), []),
        (around(sure=False), replica(5, OFF), ["IOThreadStopped"]),
        (around(EU, sure=False), replica(region=EU, replication=None), ["PrimaryReadOnly"]),
        (around(sure=False, went_back=True, newest_term=3), replica(), ["PrimaryRecordWentBack"]),
    ],
)
def test_what_people_are_told(view: FleetDatabases, look: ServerStatus | ServerError, kinds: list[str]) -> None:
    found = dict(conditions.conditions(view, look, int(NOW)))
    assert list(found) == kinds and all(found.values())


@pytest.mark.parametrize("source, host, wrong", [
    ("1", "tunnels", True), ("3", "tunnels", False), ("", "tunnels", False), ("3", "eu", True)])
def test_behind_a_load_balancer_the_servers_id_tells(source: str, host: str, wrong: bool) -> None:
    look = replica()
    assert look.replication
    look = msgspec.structs.replace(look, replication=msgspec.structs.replace(
        look.replication, source=source, host=host))
    view = around(US, PrimaryRecord(AP, 1, fenced=(EU,)), reports={EU: msgspec.structs.replace(report(), id="1")})
    assert bool(conditions.wrong_source(view, look)) == wrong
    assert not conditions.wrong_source(msgspec.structs.replace(view, primary=PrimaryRecord(EU)), look)


@pytest.mark.parametrize("view, look, closes", [
    (around(), replica(read_only=False), False),  # before the first promotion fleet.toml may be mistaken
    (around(US, PrimaryRecord(EU, 1)), replica(read_only=False), True),
    (around(US, PrimaryRecord(EU, 1), sure=False), replica(read_only=False), False),
    (around(US, PrimaryRecord(EU, 1)), replica(), False),
    (around(US, PrimaryRecord(US, 1)), replica(read_only=False), False),
    (around(US, PrimaryRecord(US, 1, fenced=(US,))), replica(read_only=False), True),
    (around(US, PrimaryRecord(EU, 0, fenced=(US,))), replica(read_only=False), True),
    (around(US, PrimaryRecord(EU, 1)), ServerError("silent", "us", ""), False),
])
def test_when_a_server_is_closed(view: FleetDatabases, look: ServerStatus | ServerError, closes: bool) -> None:
    assert conditions.must_fence(view, look) == closes
    plan = decide.watch(WatchObservation(view, Stored(WatchState(0)), look), int(NOW))
    assert (plan.actions[0].kind == "fence") == closes


@pytest.mark.parametrize(
    "primary, change, ends",
    [
        (PrimaryRecord(AP, 1, fenced=(US,)), {}, True),
        (PrimaryRecord(AP, 1), {}, False),
        (PrimaryRecord(US, 1, fenced=(US,)), {}, False),
        (PrimaryRecord(AP, 1, fenced=(US,)), {"sql": OFF}, False),
        (PrimaryRecord(AP, 1, fenced=(US,)), {"read_only": False}, False),
        (PrimaryRecord(AP, 1, fenced=(US,), promotion=Promotion(EU, AP, "claimed", 0)), {}, False),
    ],
)
def test_a_fence_ends_when_the_server_replicates_from_the_primary(
    primary: PrimaryRecord, change: dict[str, Any], ends: bool
) -> None:
    for source, right in (("3", True), ("1", False), ("", False)):
        look = replica(**change)
        assert look.replication
        look = msgspec.structs.replace(look, replication=msgspec.structs.replace(look.replication, source=source))
        named = msgspec.structs.replace(report(), id="3")
        view = around(US, primary, reports={AP: named, US: named})
        assert conditions.rejoined(view, look) == (ends and right)
        assert not conditions.rejoined(msgspec.structs.replace(view, sure=False), look)


def test_without_an_admin_people_are_told_to_close_it_themselves() -> None:
    view = around(US, PrimaryRecord(EU, 1))
    view = msgspec.structs.replace(view, settings=msgspec.structs.replace(view.settings, admin_secret=None))
    plan = decide.watch(WatchObservation(view, Stored(WatchState(0)), replica(read_only=False)), int(NOW))
    assert "fence" not in [one.kind for one in plan.actions]
    assert any("run SET GLOBAL read_only" in alert.problem for alert in plan.alerts)


def watched(look: ServerStatus | ServerError | None) -> Plan:
    return decide.watch(WatchObservation(around(), Stored(WatchState(0)), look), int(NOW))


def test_watch_wants_an_alert_for_each_condition_for_as_long_as_it_holds() -> None:
    assert [alert.kind for alert in watched(replica(5, sql=OFF)).alerts] == ["SQLThreadStopped"]
    assert watched(replica()).alerts == () and watched(replica()).not_judged == ()


OF_SERVER = {"IOThreadStopped", "SQLThreadStopped", "NotReplicating", "SplitBrain", "WrongSource"}
BAD_REPORT = Unreadable(ItemKey("coordination", "databases", EU), "no JSON")


@pytest.mark.parametrize("view, look, unjudged, judged", [
    (around(), replica(), set(), {*OF_SERVER, "PrimaryRecordWentBack", "DatabaseUnreachable"}),
    (around(), ServerError("silent", "us", ""), OF_SERVER, {"DatabaseUnreachable", "PrimaryRecordWentBack"}),
    (around(sure=False), replica(), {*OF_SERVER, "PromotionUnfinished", "PrimaryRecordWentBack"},
     {"DatabaseUnreachable"}),
    (around(sure=False, went_back=True), replica(), {*OF_SERVER, "PromotionUnfinished"}, {"PrimaryRecordWentBack"}),
    (around(reports={}, unreadable=(BAD_REPORT,)), replica(), {"WrongSource", "NoHeartbeat", "ReplicaLag"},
     {"IOThreadStopped"}),
    (around(US, PrimaryRecord(EU, 1, promotion=Promotion(US, EU, "drained", int(NOW) - 9))), replica(),
     {"IOThreadStopped", "SQLThreadStopped", "NotReplicating"}, {"SplitBrain", "ReplicaLag"}),
    (around(US, PrimaryRecord(EU, 1, promotion=Promotion(US, EU, "drained", int(NOW) - 601))), replica(), set(),
     {"IOThreadStopped"}),
])
def test_what_a_watch_cannot_judge_is_not_said_to_be_over(
    view: FleetDatabases, look: ServerStatus | ServerError, unjudged: set[str], judged: set[str]
) -> None:
    found = set(decide.watch(WatchObservation(view, Stored(WatchState(0)), look), int(NOW)).not_judged)
    assert unjudged <= found and not judged & found


def test_watch_of_a_minute_that_is_done_does_not_say_that_anything_is_over() -> None:
    assert watched(None).not_judged == ("*",)


def test_the_heart_beats_where_the_primary_is_and_nowhere_else() -> None:
    primary = replica(region=EU, replication=None, read_only=False)
    assert decide.beats(around(EU), primary)
    assert not decide.beats(around(US), msgspec.structs.replace(primary, region=US))
    assert not decide.beats(around(EU), replica(region=EU, read_only=False)), "it replicates"
    assert not decide.beats(around(EU), replica(region=EU, replication=None)), "it is read-only"
    assert not decide.beats(around(EU, PrimaryRecord(EU, 1, fenced=(EU,))), primary)


@pytest.mark.parametrize("own, primary, where", [(US, EU, ("eu", 3306)), (US, AP, ("ap.example", 3307))])
def test_where_a_replica_finds_the_primary(own: str, primary: str, where: tuple[str, int]) -> None:
    settings = FLEET.databases
    assert settings
    servers = tuple(msgspec.structs.replace(one, remote_address="ap.example:3307") if one.region == AP else one
                    for one in settings.servers)
    settings = msgspec.structs.replace(settings, servers=servers)
    assert conditions.source_of(settings, own, primary) == where
    tunnelled = tuple(msgspec.structs.replace(one, replication_source="tunnels.local:13306") for one in servers)
    assert conditions.source_of(msgspec.structs.replace(settings, servers=tunnelled), own, primary) == (
        "tunnels.local", 13306)


def test_what_an_old_primary_has_more_is_named() -> None:
    primary = PrimaryRecord(AP, 1, fenced=(US,), position=gtid.read("mariadb", "0-1-7"))
    look = replica(read_only=False, replication=None)
    [(_, text), *_] = conditions.conditions(around(US, primary), look, int(NOW))
    assert "up to 3 transactions that the new primary never got (0-1-8..10)" in text
