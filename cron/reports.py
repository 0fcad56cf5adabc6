"""Jobs written in Python: plain functions without arguments. What they print is the run's output."""

import os
import statistics

from lamplighter import job


@job("* * * * *", timeout="1m", overlap="skip")
def lamps() -> None:
    """Says how bright the street is; runs every minute."""
    brightness = [0.7, 0.9, 0.8, 1.0]
    print(f"{os.environ.get('LAMP_SLOT', 'by hand')}: mean brightness {statistics.mean(brightness):.2f}")


@job("0 3 * * *", tz="Europe/Stockholm", catch_up="2h", retries=2)
def nightly() -> None:
    """Says that the night report is done; runs at three in the morning on Stockholm's clock."""
    print("night report written")
