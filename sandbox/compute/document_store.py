"""The documents of Systems Manager that a sandbox keeps, and the API that keeps them."""

import json
import re
import time
from typing import Any

from sandbox.compute.documents import RUN_SHELL_SCRIPT, Document, DocumentError, parse

Data = dict[str, Any]
_NAME = re.compile(r"[a-zA-Z0-9_\-.]{3,128}")
_RESERVED = ("aws-", "amazon", "amzn")
_OWN = "AWS-RunShellScript"


class DocumentStore:
    """Documents by region and name. Methods named as actions take and give what the API does."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], Data] = {}

    def find(self, region: str, name: str, version: str = "$DEFAULT") -> tuple[Document, str]:
        """A document and its version. `DocumentError` (InvalidDocument) when there is none of this name or version."""
        name = name.rpartition("/")[2]  # an ARN will do too
        if name == _OWN:
            return parse_own(), "1"
        kept = self._get(region, name)
        wanted = {"$DEFAULT": kept["default"], "$LATEST": str(len(kept["versions"]))}.get(version, version)
        if not wanted.isdigit() or not 1 <= int(wanted) <= len(kept["versions"]):
            raise DocumentError("InvalidDocumentVersion", f"{name} has no version {version}")
        content, form = kept["versions"][int(wanted) - 1]
        return parse(content, form), wanted

    def create(self, region: str, data: Data) -> Data:
        """CreateDocument."""
        name, form = str(data.get("Name", "")), str(data.get("DocumentFormat", "JSON"))
        if not _NAME.fullmatch(name) or name.lower().startswith(_RESERVED):
            raise DocumentError("ValidationException", f"{name!r} is no name that a document may have")
        if data.get("DocumentType", "Command") != "Command":
            raise DocumentError("ValidationException", "the sandbox keeps documents of type Command")
        if (region, name) in self._kept:
            raise DocumentError("DocumentAlreadyExists", f"Document with same name {name} already exists")
        parse(data.get("Content", ""), form)
        self._kept[region, name] = {"versions": [(data["Content"], form)], "default": "1", "created": time.time()}
        return {"DocumentDescription": self._description(region, name)}

    def update(self, region: str, data: Data) -> Data:
        """UpdateDocument makes a new version, which is not the default one yet."""
        kept, form = self._get(region, data["Name"]), str(data.get("DocumentFormat", "JSON"))
        parse(data.get("Content", ""), form)
        if data["Content"] == kept["versions"][-1][0]:
            raise DocumentError("DuplicateDocumentContent", "The content of the document is that of its latest version")
        kept["versions"].append((data["Content"], form))
        return {"DocumentDescription": self._description(region, data["Name"])}

    def set_default(self, region: str, data: Data) -> Data:
        """UpdateDocumentDefaultVersion."""
        _, version = self.find(region, data["Name"], str(data["DocumentVersion"]))
        self._get(region, data["Name"])["default"] = version
        return {"Description": {"Name": data["Name"], "DefaultVersion": version}}

    def describe(self, region: str, data: Data) -> Data:
        """DescribeDocument."""
        self.find(region, data["Name"], str(data.get("DocumentVersion", "$DEFAULT")))
        return {"Document": self._description(region, data["Name"])}

    def get(self, region: str, data: Data) -> Data:
        """GetDocument."""
        _, version = self.find(region, data["Name"], str(data.get("DocumentVersion", "$DEFAULT")))
        content, form = self._get(region, data["Name"])["versions"][int(version) - 1]
        return {"Name": data["Name"], "DocumentVersion": version, "Content": content, "Status": "Active",
                "DocumentType": "Command", "DocumentFormat": form}

    def list(self, region: str, data: Data) -> Data:
        """ListDocuments gives those of this account, whatever the filters."""
        return {"DocumentIdentifiers": [
            {"Name": name, "Owner": "self", "DocumentType": "Command", "SchemaVersion": "2.2",
             "DocumentVersion": kept["default"]} for (home, name), kept in self._kept.items() if home == region]}

    def delete(self, region: str, data: Data) -> Data:
        """DeleteDocument."""
        self._get(region, data["Name"])
        del self._kept[region, data["Name"]]
        return {}

    def put(self, region: str, name: str, content: str, form: str) -> None:
        """The call of a stack. Create it, or make `content` its default version."""
        data = {"Name": name, "Content": content, "DocumentFormat": form}
        if (region, name) not in self._kept:
            self.create(region, data)
        elif content != self._kept[region, name]["versions"][-1][0]:
            self.update(region, data)
            self.set_default(region, {"Name": name, "DocumentVersion": len(self._kept[region, name]["versions"])})

    def _get(self, region: str, name: str) -> Data:
        if (region, name) not in self._kept:
            raise DocumentError("InvalidDocument", f"Document with name {name} does not exist.")
        return self._kept[region, name]

    def _description(self, region: str, name: str) -> Data:
        kept = self._get(region, name)
        content, form = kept["versions"][-1]
        parameters = [{"Name": one, "Type": parameter.type, "Description": parameter.description}
                      for one, parameter in parse(content, form).parameters.items()]
        return {"Name": name, "Owner": "self", "Status": "Active", "DocumentType": "Command", "SchemaVersion": "2.2",
                "DocumentFormat": form, "DocumentVersion": str(len(kept["versions"])), "CreatedDate": kept["created"],
                "DefaultVersion": kept["default"], "LatestVersion": str(len(kept["versions"])),
                "PlatformTypes": ["Linux"], "Parameters": parameters}


def parse_own() -> Document:
    """AWS's own AWS-RunShellScript."""
    return parse(json.dumps(RUN_SHELL_SCRIPT))
