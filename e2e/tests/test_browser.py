"""The browser that is found was started before it is believed; where there is none, one line says how to get it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from e2e import browser
from e2e.browser import Browser, NoBrowser


@pytest.fixture
def none_of_playwright(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hides the builds that Playwright has downloaded."""
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "no-builds"))


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def real_chromium() -> str:
    try:
        found = browser.find(install=False)
    except NoBrowser as error:
        pytest.skip(str(error))
    return found.executable or pytest.skip("needs a Chromium in PATH")


STUB = "echo 'requires the chromium snap to be installed' >&2; exit 1"


@pytest.mark.browser
def test_a_stub_is_passed_over_for_the_next_one_of_the_same_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    true = real_chromium()
    stub = program(tmp_path / "stub", "chromium", STUB)
    (tmp_path / "true").mkdir()
    (tmp_path / "true" / "chromium").symlink_to(true)
    found = browser.find(install=False, search=f"{tmp_path / 'stub'}:{tmp_path / 'true'}")
    assert found == Browser("chromium", str(tmp_path / "true" / "chromium"))
    said = capsys.readouterr().err
    assert f"{stub} does not start: requires the chromium snap" in said


@pytest.mark.usefixtures("none_of_playwright")
def test_nothing_but_stubs_is_no_browser_and_one_line(tmp_path: Path) -> None:
    silent = program(tmp_path / "a", "chromium", "exit 1")
    snap = program(tmp_path / "a", "chromium-browser", STUB)
    with pytest.raises(NoBrowser) as raised:
        browser.find(install=False, search=str(tmp_path / "a"))
    said = str(raised.value)
    assert "\n" not in said
    assert f"{snap} does not start: requires the chromium snap" in said
    assert f"{silent} does not start" in said
    assert "Playwright's own Chromium is not installed" in said
    assert "apt install chromium" in said
    assert "leave out --no-install" in said


@pytest.mark.usefixtures("none_of_playwright")
def test_another_engine_is_its_own_build_and_never_chromium(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    program(tmp_path / "bin", "chromium", f"touch {ran}")
    with pytest.raises(NoBrowser, match=r"no Firefox starts .*playwright install firefox") as raised:
        browser.find("firefox", install=False, search=str(tmp_path / "bin"))
    assert "apt" not in str(raised.value)
    assert not ran.exists()


LAUNCHES = """
def test_shows_its_arguments(browser_name, browser_type_launch_args):
    print(browser_name, "starts", browser_type_launch_args.get("executable_path"))
"""


def test_the_suites_give_chromiums_path_to_chromium_alone(tmp_path: Path) -> None:
    shutil.copy(Path(browser.__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_launch.py").write_text(LAUNCHES)
    command = [sys.executable, "-m", "pytest", "-s", f"--rootdir={tmp_path}", str(tmp_path)]
    done = subprocess.run(
        [*command, "--browser=chromium", "--browser=firefox"], env={**os.environ, browser.VARIABLE: "/opt/chromium"},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "chromium starts /opt/chromium" in done.stdout
    assert "firefox starts None" in done.stdout


def test_a_channel_that_is_asked_for_is_not_replaced_by_chromium(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(browser.VARIABLE, "/opt/chromium")
    assert browser.executable_for("chromium", None) == "/opt/chromium"
    assert browser.executable_for("chromium", "chrome") is None
    monkeypatch.setenv(browser.VARIABLE, "")
    assert browser.executable_for("chromium", None) is None


# What installs one. The stand-in for apt-get is a script with its interface, which makes a link to a real browser.

APT = """
echo "$@" >>{log}
[ "$1" = install ] || exit 0
echo 'dlstatus:1:50.0:Retrieving file 1 of 2'
echo 'pmstatus:chromium:100.0:Installed chromium'
{effect}
"""


@pytest.mark.browser
def test_root_gets_debians_package_without_being_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    true, folder, log = real_chromium(), tmp_path / "bin", tmp_path / "apt.log"
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "no-builds"))
    program(folder, "apt-get", APT.format(log=log, effect=f"ln -s {true} {folder}/chromium"))
    found = browser.find(install=True, search=str(folder), root=True)
    assert found == Browser("chromium", str(folder / "chromium"))
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["update", "install"]
    said = capsys.readouterr().err
    assert "browser: none found; installing the package chromium with apt (--no-install declines)" in said
    assert "browser: apt is downloading chromium (30%" in said
    assert "browser: done in" in said


@pytest.mark.usefixtures("none_of_playwright")
def test_an_installation_that_fails_is_named_with_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "apt.log"
    effect = "echo 'E: Unable to locate package chromium'; exit 100"
    program(tmp_path / "bin", "apt-get", APT.format(log=log, effect=effect))
    monkeypatch.setenv("PLAYWRIGHT_DOWNLOAD_HOST", "http://127.0.0.1:9")
    with pytest.raises(NoBrowser, match="apt-get install chromium: exit code 100 E: Unable to locate package chromium"):
        browser.find(install=True, search=str(tmp_path / "bin"), root=True)


@pytest.mark.usefixtures("none_of_playwright")
@pytest.mark.parametrize(("install", "root"), [(False, True), (True, False)], ids=["declined", "no root"])
def test_apt_is_left_alone_where_it_was_declined_or_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install: bool, root: bool
) -> None:
    log = tmp_path / "apt.log"
    program(tmp_path / "bin", "apt-get", APT.format(log=log, effect=""))
    monkeypatch.setenv("PLAYWRIGHT_DOWNLOAD_HOST", "http://127.0.0.1:9")
    with pytest.raises(NoBrowser, match="`apt install chromium` as root on Debian") as raised:
        browser.find(install=install, search=str(tmp_path / "bin"), root=root)
    assert not log.exists()
    assert ("playwright install chromium: exit code" in str(raised.value)) == install
