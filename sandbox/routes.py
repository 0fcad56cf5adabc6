"""The emulator's routes: which of them the sandbox keeps, and that every other one is closed.

The emulator answers some paths before it looks for a signature or a policy: its own administration, hosted pages of
Cognito, Iceberg catalogs, registries of containers, APIs and function URLs. This sandbox needs none of them. So each
request takes the one way that checks the signature and the permissions of its sender. Those handlers never see one.
"""

from typing import Any

from sandbox.emulator_patches import Context, change

# The steps of the emulator that answer a request before its signature is checked, with their parameters.
BEFORE_SIGNATURES = {
    "_handle_pre_body_request": "method path headers query_params request_id",
    "_handle_post_body_shortcuts": "method path headers body query_params request_id",
    "_handle_special_data_plane_request":
        "method path headers body query_params request_id raw_path raw_query_string client_ip",
}


def _closed(original: Any, context: Context) -> Any:
    async def pass_on(*arguments: Any, **named: Any) -> None:
        """No answer: the request goes on to the step that checks who may do what."""
    return pass_on


for _symbol, _parameters in BEFORE_SIGNATURES.items():
    change("app", _symbol, _parameters, f"no request is answered before its signature is checked ({_symbol})")(_closed)
