"""What goes into a package lies in the project. Links out of it are refused, and entries of the zip beside it."""

import zipfile
from pathlib import Path

import pytest

from commands.deploy import archive, packaging, staging
from commands.errors import UsageError
from commands.roots import PRODUCT

FLEET = 'name = "f"\n[[regions]]\nname = "eu-west-1"\n[coordination]\nregions = ["eu-west-1"]\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for folder in ("cron/cron.d", "tasks/inner", "shared"):
        (root / folder).mkdir(parents=True)
    (root / "fleet.toml").write_text(FLEET)
    (root / "tasks/_.py").write_text("")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/id_rsa").write_text("secret")
    return root


def staged(root: Path, to: Path) -> list[str]:
    """What is wrong with the links below `root`, staged as packaging does it."""
    (to / "vendor").mkdir(parents=True)
    for name in ("cron", "tasks", "fleet.toml"):
        (to / "vendor" / name).symlink_to(root / name)
    return list(staging.strays(to, [to.resolve(), root.resolve()]))


@pytest.mark.parametrize(("link", "target", "said"), [
    ("tasks/key.py", "../../outside/id_rsa", "tasks/key.py is a link that leads out"),
    ("tasks/.hidden", "../../outside/id_rsa", "tasks/.hidden is a link that leads out"),
    ("tasks/inner/deep", "../../../outside", "tasks/inner/deep is a link that leads out"),
    ("cron/cron.d/app", "/etc/passwd", "cron/cron.d/app is a link that leads out"),
    ("cron/.git", "/etc", "cron/.git is a link that leads out"),
    ("tasks/gone", "../shared/gone", "tasks/gone is a link that leads nowhere"),
    ("tasks/gone", "../../outside/gone", "tasks/gone is a link that leads out"),
    ("tasks/round", ".", "tasks/round is a link to a folder around it"),
    ("tasks/inner/up", "../../tasks", "tasks/inner/up is a link to a folder around it"),
    ("tasks/self", "self", "tasks/self is a link that leads nowhere")])
def test_a_link_out_of_the_project_is_refused(project: Path, tmp_path: Path, link: str, target: str, said: str) -> None:
    (project / link).symlink_to(target)
    [found] = staged(project, tmp_path / "staged")
    assert found.startswith(said)


@pytest.mark.parametrize("name", ["cron", "tasks", "fleet.toml"])
def test_the_folders_themselves_may_be_no_links_out_either(project: Path, tmp_path: Path, name: str) -> None:
    (project / name).rename(tmp_path / "outside" / name)
    (project / name).symlink_to(tmp_path / "outside" / name)
    [found] = staged(project, tmp_path / "staged")
    assert found.startswith(f"{name} is a link that leads out")


def test_links_within_the_project_are_followed(project: Path, tmp_path: Path) -> None:
    (project / "shared/x.py").write_text("")
    (project / "tasks/x.py").symlink_to("../shared/x.py")
    (project / "tasks/shared").symlink_to("../shared")
    (project / "cron/cron.d/a").symlink_to("../../shared/x.py")
    assert staged(project, tmp_path / "staged") == []


@pytest.mark.slow
def test_packaging_refuses_such_a_link(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaging, "_vendor", lambda *arguments: None)
    (project / "tasks/key.py").symlink_to("../../outside/id_rsa")
    with pytest.raises(UsageError, match=r"tasks/key\.py is a link that leads out of the project"):
        packaging.build("s", root=project, product=PRODUCT)


@pytest.mark.parametrize("name", ["../x.py", "a/../../x.py", "/etc/x", "a\\..\\x", "C:x", "a//b", "./x", "a/.", "a\nb"])
def test_an_entry_beside_the_package_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as made:
        made.writestr(zipfile.ZipInfo(name), b"")
    with pytest.raises(SystemExit, match="would lie outside"):
        archive.repack(tmp_path / "in.zip", tmp_path / "out.zip", tmp_path / "cache")
