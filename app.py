"""Every Lambda of the system. The module `lambdas` of each capability declares its own: trigger, time-out, memory,
network, permissions, code. A Lambda that starts imports its own capability alone."""

from chalice import Chalice

from chalicelib import registry

app = Chalice(app_name="lamplighter")

for name, handler in registry.handlers().items():
    # Chalice names the Lambda's entry point `app.<function name>`.
    handler.__name__ = name
    globals()[name] = app.lambda_function(name=name)(handler)
