"""Every Lambda of the system. The module `lambdas` of each capability declares its own: trigger, time-out, memory,
network, permissions, code. A Lambda that starts imports its own capability alone."""

import gc

# What an import makes is no garbage, and to look for some would take a tenth of the start.
gc.disable()

from chalice import Chalice  # noqa: E402 - after the line above, as all that is imported

from chalicelib import registry  # noqa: E402

# Powertools' logger has this name, too. Chalice's own handler would write each of its lines a second time.
app = Chalice(app_name="lamplighter", configure_logs=False)

for name, handler in registry.handlers().items():
    # Chalice names the Lambda's entry point `app.<function name>`.
    handler.__name__ = name
    globals()[name] = app.lambda_function(name=name)(handler)

# All of it stays for as long as the process lives, so it is not looked at again.
gc.freeze()
gc.enable()
