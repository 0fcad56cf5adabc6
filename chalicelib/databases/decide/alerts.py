"""The words of the databases' alerts. Pure."""

from chalicelib.databases.state import PrimaryRecord, Promotion
from chalicelib.engine.alerts import Alert

_STATUS = "Read what each region reports with `lamp run databases.status`."
_LOOKED = "The minute's watch has looked again."
_WAIT = "Wait two minutes. The operation databases.heal starts the threads that it may start."
_DATA = ("Compare its data with the primary's, or make the replica anew.",
         "Lamplighter never skips anything by itself.")
_STEPS: dict[str, tuple[str, ...]] = {
    "PromotionUnfinished": ("Run `lamp run databases.promote` again. It goes on from there.",),
    "PrimaryRecordWentBack": (
        "See which server takes writes with `lamp run databases.status`.",
        'Promote that same region and say why: `lamp run databases.promote \'{"region": ..., "force": ...}\'`.'),
    "SplitBrain": ("See that the application in this region writes to the primary.", *_DATA),
    "DatabaseUnreachable": (
        "See whether the server runs, and whether its security group lets the Lambda in.",
        "If it is the primary and stays away, promote a replica with `lamp run databases.promote`."),
    "PrimaryReadOnly": ("Open it by `lamp run databases.promote` with this same region.",),
    "PrimaryReplicates": (
        "Check which of the two servers is the primary.",
        "Stop the replication on the true primary, with STOP SLAVE and RESET SLAVE ALL."),
    "ReplicaWritable": (
        "Run `lamp run databases.fence --region REGION`, read the plan, and apply it.",
        "Put read_only = 1 into its configuration."),
    "ReplicaLag": (
        "Look for a long transaction or a large import on the primary.",
        "Check the load of the replica and of the tunnel hosts."),
    "ReplicaStale": ("Look for an alert about the threads, the heartbeat or the tunnels, and follow that.",),
    "WrongSource": (
        "Wait some minutes. databases.heal changes its source if the new primary has all of its transactions.",
        "Otherwise compare the two and rebuild the replica."),
    "NotReplicating": ("Make it a replica, see docs/databases.md.",),
    "IOThreadStopped": (_WAIT, _STATUS),
    "SQLThreadStopped": (_WAIT, _STATUS),
    "ReplicationBroken": _DATA,
    "HeartbeatMissing": ("Make the table or grant what the text names, see docs/databases.md.",),
    "NoHeartbeat": ("Look at the Lambda `databases_watch` of the primary's region.",),
}


def condition(kind: str, region: str, text: str) -> Alert:
    """Something that holds now about the database of a region. The engine says when it began and that it is over."""
    tried = "The watch closes the server each minute." if kind == "SplitBrain" else _LOOKED
    return Alert(kind, f"database in {region}", text, tried=(tried,), steps=_STEPS.get(kind, (_STATUS,)))


def loss(primary: PrimaryRecord) -> str:
    """The transactions that a promotion has cost, to end a sentence. Nothing if none."""
    return f"; lost: {primary.lost} ({primary.lost.count} transactions)" if primary.lost else ""


def promoted(primary: PrimaryRecord, promotion: Promotion) -> Alert:
    """A promotion is over."""
    forced = f"; forced: {promotion.forced}" if promotion.forced else ""
    return Alert("Promoted", f"{promotion.to} has the primary",
                 f"Term {primary.term}, before it {promotion.old}{loss(primary)}{forced}", event=True,
                 occurrence=str(primary.term), tried=("All steps of the promotion are done.",),
                 steps=("See that the application writes to it.", _STATUS))
