"""The mechanisms that all capabilities share. The engine knows no capability.

**What flows** (`plan`, `operation`, `run`, `journal`). A decision returns a plan, and `run.run` carries it out:

    Plan(actions, notes, claim=Claim(found, after), alerts=(Alert(...),), not_judged=("ReplicaLag",), unreadable=(bad,))
    Operation("tunnels.repair", "...", observe, decide, {"drain": act.drain}, state=StateItem(KEY, STATE))
    return Results(["refused"], [Alert(..., event=True)])          # what a handler learns while it acts

The claim is written first. Another run that was faster ends this one as `superseded`. Alerts are delivered at the end
of the run. Those of a queue's runs are left to the scheduled operation of the same `alerts_as` with `delivers_events`.

**What is stored** (`schema`, `state`). Every stored value derives from `State` and is read through a `Schema`:

    class TunnelState(State, frozen=True): members: tuple[Member, ...] = ()
    STATE = Schema(TunnelState, 1)

    found = state.load(context.local_store, KEY, STATE, TunnelState())
    if isinstance(found, Unreadable): ...   # do nothing about it. `run.run` tells of it (`witness`)
    state.claim(context.local_store, KEY, STATE, found, after, run_id=run_id)      # before acting. `Superseded`
    state.current(context.local_store, KEY, STATE, run_id=run_id)                  # still ours? before each effect

Many items come from `state.read_all(store, items, SCHEMA)`, which gives the readable ones, and the others as
`Unreadable`. `state.update(store, key, SCHEMA, change)` changes a record with several writers. `state.publish(store,
key, SCHEMA, report, replaces=lambda old: old.at < report.at)` publishes a fact for other regions.

`run_id` marks one call of one Lambda. A request's id is none, since Lambda's second try has the same.

**What people are told** (`alerts`, `alert_text`, `delivery`). A decision lists the alerts that hold now, each time, and
remembers nothing of what was told:

    Alert("TunnelDown", "slot a", "No tunnel of slot a answers", since=slot.out_of_service_since,
          tried=("The tunnel was restarted twice.",), steps=("Call `lamp run tunnels.status`.",))

`run.run` calls `delivery.deliver` with them.

Equal causes are grouped (`cause="AccessDenied"`). An event at a point in time is an `event=True` with an `occurrence`.
Kinds that a run could not judge go into `not_judged`, so that they do not count as over. Hundreds of Lambdas report
their events with `delivery.report_event`. An operation of the same region delivers them with `events=True`.

**How often** (`limits`, pure). `Budget(4, 600).left(state.repairs, now)` and `.spend(...)`.
`Backoff(60, 1800, reset_after_seconds=600)` makes and ends a `Cooldown`, both of them parts of a stored state.

**Who may act** (`lease`, `interval`). `interval.run_rounds(...)` is a minute of rounds under a lease with a fencing
token. `Semaphore` is at most so many at once. A lock with fields of its own is a `state.update` judged by `has_lapsed`.

**What is done outside** (`effects`). `effects.once(store, pk, key, do, clock, fence=...)` does it at most once. It is
not done when its decision is stale (`is_stale`) or another run has decided since (`is_superseded`). Its result says
`done`, `refused`, `left` or `unknown`. `effects.outcomes(store, pk, keys)` tells a later run what came of it.

**How long** (`deadline`). `Deadline.of_lambda(lambda_context, reserve_seconds=10)`, with `.left()` and `.share(0.6)`.

**What is counted** (`metrics`). `count("Fenced", region=region)`, `gauge("ReplicaLagAtMost", seconds, region=region)`.
"""
