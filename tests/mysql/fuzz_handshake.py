"""What must hold for any bytes that a server might send; run as a program, atheris looks for a counterexample."""

import sys

if __name__ == "__main__":
    import atheris

    with atheris.instrument_imports(include=["chalicelib.mysql"]):
        from chalicelib.mysql.handshake import LONGEST, Handshake, HandshakeResult
else:
    from chalicelib.mysql.handshake import LONGEST, Handshake, HandshakeResult

SIDES = {"up", "local", "far", "ambiguous"}


def check(data: bytes) -> None:
    """Lets a server say `data`, at once and byte by byte; an exception or a failed assertion is a bug."""
    whole, drips = Handshake("MariaDB"), Handshake("MariaDB")
    answer = whole.data_received(data)
    answers = [drips.data_received(data[at:at + 1]) for at in range(len(data))]
    assert b"".join(answers) == answer
    assert verdict(whole.found) == verdict(drips.found)
    for talk in (whole, drips):
        assert len(talk._buffer) < LONGEST + 4 or talk.found, "keeps more than a packet"
        assert talk.found is None or sound(talk.found)
        assert sound(talk.timed_out())
        assert sound(talk.connection_reset() if len(data) % 2 else talk.connection_closed())
    spoken(answer)


def verdict(found: HandshakeResult | None) -> tuple[str, str] | None:
    """Without the quotation, which may be shorter when less had come."""
    return found and (found.side, found.why)


def sound(found: HandshakeResult) -> bool:
    """Whether it can be put into a journal."""
    return found.side in SIDES and bool(found.why) and found.said.isprintable() and len(found.said) < 300


def spoken(answer: bytes) -> None:
    """What the probe says is whole packets, and not many."""
    count = 0
    while answer:
        size = int.from_bytes(answer[:3], "little")
        assert len(answer) >= 4 + size, answer
        answer, count = answer[4 + size:], count + 1
    assert count <= 10


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
