"""The words of the databases' alerts. Pure."""

from chalicelib.databases.state import PrimaryRecord, Promotion
from chalicelib.engine.alerts import Alert

_STATUS = "Read what is known of each region: `lamp run databases.status`."
_DATA = ("Compare its data with the primary's, or make the replica anew.", "Nothing is ever skipped by itself.")
_STEPS: dict[str, tuple[str, ...]] = {
    "PromotionUnfinished": ("Run `lamp run databases.promote` again: it goes on from there.",),
    "SplitBrain": ("See that the application in this region writes to the primary.", *_DATA),
    "DatabaseUnreachable": (
        "See whether the server runs, and whether its security group lets the Lambda in.",
        "If it is the primary and stays away, promote a replica: `lamp run databases.promote`."),
    "PrimaryReadOnly": ("Open it: `lamp run databases.promote` with this same region.",),
    "PrimaryReplicates": ("Correct `primary` in fleet.toml, or run `lamp run databases.promote`.",),
    "ReplicaWritable": ("Run SET GLOBAL read_only = 1 there, and set it in its configuration.",),
    "NotReplicating": ("Make it a replica, see docs/databases.md.",),
    "IOThreadStopped": ("Wait two minutes: databases.heal starts what may be started.", _STATUS),
    "SQLThreadStopped": ("Wait two minutes: databases.heal starts what may be started.", _STATUS),
    "ReplicationBroken": _DATA,
    "HeartbeatMissing": ("Make the table or grant what the text names, see docs/databases.md.",),
    "NoHeartbeat": ("Look at the Lambda `databases_watch` of the primary's region.",),
}


def condition(kind: str, region: str, text: str) -> Alert:
    """Something that holds now about the database of a region. The engine says when it began and that it is over."""
    tried = {"SplitBrain": ("The server is closed each minute.",)}.get(kind, ("The minute's watch has looked again.",))
    return Alert(kind, f"database in {region}", text, tried=tried, steps=_STEPS.get(kind, (_STATUS,)),
                 read_more="docs/databases.md")


def loss(primary: PrimaryRecord) -> str:
    """The transactions that a promotion has cost, to end a sentence. Nothing if none."""
    return f"; lost: {primary.lost} ({primary.lost.count} transactions)" if primary.lost else ""


def promoted(primary: PrimaryRecord, promotion: Promotion) -> Alert:
    """A promotion is over."""
    forced = f"; forced: {promotion.forced}" if promotion.forced else ""
    return Alert("Promoted", f"{promotion.to} has the primary",
                 f"Term {primary.term}, before it {promotion.old}{loss(primary)}{forced}", event=True,
                 occurrence=str(primary.term), tried=("All steps of the promotion are done.",),
                 steps=("See that the application writes to it.", _STATUS), read_more="docs/databases.md")
