"""The network of the tunnels in memory. A test sets the results of probes."""

from collections.abc import Callable, Mapping, Sequence

from chalicelib.tunnels.probe.pending import Target
from chalicelib.tunnels.probe.result import ProbeResult

# The results of one round of probes, by the id of the target.
Answers = Callable[[Sequence[Target]], Mapping[str, ProbeResult]]


class FakeNetwork:
    """`chalicelib.tunnels.probe.network.Network`. `answers` gives the results. `addresses` has those of names."""

    def __init__(self, answers: Answers, addresses: Mapping[str, str] | None = None) -> None:
        self.answers = answers
        self.addresses = dict(addresses or {})

    def probe(
        self, targets: Sequence[Target], seconds: float, *, health_port: int | None = None
    ) -> Mapping[str, ProbeResult]:
        return self.answers(targets)

    def address(self, host: str, port: int) -> str:
        if host not in self.addresses:
            raise OSError(f"{host}: Name or service not known")
        return self.addresses[host]
