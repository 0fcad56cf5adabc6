"""Which fleet a command works on, and how `lamp` is called."""

from pathlib import Path

import pytest

from commands import roots
from commands.errors import UsageError


def fleet_in(folder: Path) -> Path:
    """`folder`, made, with a fleet.toml."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fleet.toml").write_text('name = "a"\n')
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without a fleet, and no LAMP_FLEET."""
    monkeypatch.delenv(roots.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_fleet_named_by_the_variable_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = fleet_in(tmp_path / "named")
    monkeypatch.chdir(fleet_in(tmp_path / "here"))
    monkeypatch.setenv(roots.VARIABLE, "../named")
    assert roots.fleet() == named and roots.own()


def test_fleet_is_the_nearest_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet_in(tmp_path / "outer")
    inner = fleet_in(tmp_path / "outer" / "inner")
    (inner / "cron" / "crontabs").mkdir(parents=True)
    monkeypatch.chdir(inner / "cron" / "crontabs")
    assert roots.fleet() == inner


def test_checkout_falls_back_to_its_example() -> None:
    assert roots.fleet() == roots.PRODUCT and not roots.own()


def test_installed_product_has_no_example_to_fall_back_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roots, "PRODUCT", tmp_path / "lamplighter" / "_product")
    with pytest.raises(UsageError, match=r"there is no fleet\.toml in .* or above. Go to the folder of a fleet, "):
        roots.fleet()


def test_named_folder_without_a_fleet_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(roots.VARIABLE, str(tmp_path))
    with pytest.raises(UsageError, match=r"has no fleet\.toml. Name the folder of a fleet, or make one with \./lamp"):
        roots.fleet()


def test_the_command_is_called_as_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert roots.spoken("run ./lamp check") == "run ./lamp check"
    monkeypatch.setattr(roots, "PRODUCT", tmp_path / "_product")
    assert roots.spoken("run ./lamp check") == "run lamp check"
