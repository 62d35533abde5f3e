"""`phasegate run` when its flags lead nowhere: a sentence and an exit code."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from support.commands import Phasegate

from controller.cli import main
from controller.cli._exits import Exit

ADDRESSES = ("--health-addr", "--metrics-addr", "--bundle-addr")


@pytest.mark.parametrize("url", ["localhost:8181", "http://localhost", "http://localhost:x", "http://:8181", "ftp://localhost:8181", ""])
def test_an_opa_that_is_no_url_with_host_and_port_is_wrong_usage(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--opa", url])
    said = capsys.readouterr().err
    assert ended.value.code == Exit.USAGE
    assert f"argument --opa: {url!r} " in said
    assert "http://127.0.0.1:8181" in said


@pytest.mark.parametrize("flag", ADDRESSES)
@pytest.mark.parametrize("address", ["nonsense", "8080", "localhost:", "localhost:99999", "localhost:-1", "http://localhost:8080", ""])
def test_an_address_that_is_no_host_and_port_is_wrong_usage(flag: str, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", flag, address])
    said = capsys.readouterr().err
    assert ended.value.code == Exit.USAGE
    assert f"argument {flag}: {address!r} " in said
    assert "127.0.0.1:8080" in said


@pytest.mark.parametrize("seconds", ["0", "-1", "1.5", "15s", "x", "3601", ""])
def test_a_lease_that_lasts_no_whole_number_of_seconds_is_wrong_usage(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", f"--leader-elect-lease-duration={seconds}"])
    said = capsys.readouterr().err
    assert ended.value.code == Exit.USAGE
    assert f"argument --leader-elect-lease-duration: {seconds!r} is no whole number of seconds from 1 to 3600" in said


@pytest.mark.parametrize("flag", ADDRESSES)
async def test_an_address_that_is_taken_is_named_with_its_flag(phasegate: Phasegate, opa: Path, flag: str) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        others = [f"{other}=127.0.0.1:0" for other in ADDRESSES if other != flag]
        said = await phasegate("run", f"--opa-binary={opa}", *others, f"{flag}={address}")
    assert (said.code, "Traceback" in said.err) == (3, False), said
    assert f"phasegate: {flag}: cannot listen on {address!r}: " in said.err
