"""What several tests of the commands need."""

from pathlib import Path

import pytest

from commands.deploy import packaging
from tests.project import copy


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as it is now, whatever becomes of its files meanwhile."""
    return copy(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def package(project: Path) -> packaging.Package:
    """The real package for AWS."""
    return packaging.build("prod", root=project, product=project)
