"""A boto3 client whose lists come in pages, and whose first page is empty, as AWS's own often are.

A caller that reads one page only finds nothing.
"""

from functools import cache
from typing import Any

from botocore import xform_name
from botocore.paginate import Paginator
from botocore.session import Session

_TOKEN = "page-2"


class EmptyFirstPage:
    """`client` of a service, such as `ssm`, with an empty page before each list that botocore has a paginator for.

    `client` gives the list itself, as boto3 does. `missed` has the calls that were left at their first page.
    """

    def __init__(self, service: str, client: Any) -> None:
        self._service, self._client, self.missed = service, client, list[str]()
        self._second: dict[str, Any] = {}

    def get_paginator(self, operation: str) -> Any:
        """botocore's own paginator over this client."""
        config, model = _lists(self._service)[operation]
        return Paginator(getattr(self, operation), config, model)

    def __getattr__(self, name: str) -> Any:
        found = _lists(self._service).get(name)
        return self._list(name, found[0]) if found else getattr(self._client, name)

    def _list(self, name: str, config: dict[str, Any]) -> Any:
        inputs, outputs, results = (_several(config[key]) for key in ("input_token", "output_token", "result_key"))

        def call(**arguments: Any) -> Any:
            if arguments.get(inputs[0]) == _TOKEN:
                self.missed.remove(name)
                return self._second.pop(name)
            answer = getattr(self._client, name)(**arguments)
            if len(inputs) == 1 and inputs[0] in arguments:
                return answer
            self.missed.append(name)
            self._second[name] = answer
            more = {config["more_results"]: True} if "more_results" in config else {}
            # describe_change_set and its like tell more than the list, and tell it on each page.
            rest = {key: answer[key] for key in config.get("non_aggregate_keys", ()) if key in answer}
            return rest | {key: [] for key in results} | more | {outputs[0]: _TOKEN}

        return call


@cache
def _lists(service: str) -> dict[str, Any]:
    """The configuration of each paginator of a service, and the model of its operation, by boto3's name."""
    session = Session()
    model = session.get_service_model(service)
    pages = session.get_component("data_loader").load_service_model(service, "paginators-1")["pagination"]
    return {xform_name(name): (config, model.operation_model(name)) for name, config in pages.items()}


def _several(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
