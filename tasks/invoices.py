"""Sample tasks: an invoice as text, and its reminder."""

from decimal import Decimal

from lamplighter import Refused, task


@task(retries=3, timeout="10s", key="number")
def render(number: int, customer: str = "Ada", lines: list[list[str]] | None = None) -> str:
    """The invoice `number`; `lines` are [text, price] pairs. Done once per number within a day."""
    items = [(text, Decimal(price)) for text, price in lines or [["Oil for one lamp", "2.50"], ["Wick", "0.75"]]]
    rows = [f"{text:<40}{price:>12.2f}" for text, price in items]
    total = sum((price for _, price in items), Decimal(0))
    return "\n".join([f"Invoice {number} for {customer}", *rows, f"{'Total':<40}{total:>12.2f}"])


@task(timeout="10s", concurrency=10)
def remind(number: int, address: str) -> str:
    """A reminder for the invoice `number`; an address that is none is never tried again."""
    if "@" not in address:
        raise Refused(f"invoice {number}: {address!r} is not an e-mail address; correct the customer, then redrive")
    return f"To: {address}\nSubject: Invoice {number} is still open\n"
