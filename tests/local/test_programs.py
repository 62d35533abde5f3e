"""Pinned programs are found where they are, and built where they are not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from controller import paths
from controller.local import building, programs
from controller.local.errors import LocalError
from controller.local.programs import PROGRAMS


def fake_program(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache with nothing in it, and nothing but the system's programs on the PATH."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path / "cache" / "phasegate" / "bin"


def run_programs(*names: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "controller.local.programs", *names],
        capture_output=True,
        text=True,
        check=False,
        cwd=paths.ROOT,
        env=environment,
        timeout=170,
    )


def test_every_program_is_pinned_to_a_version_in_its_go_mod() -> None:
    versions = {name: program.version for name, program in PROGRAMS.items()}

    assert all(version.startswith("v") for version in versions.values())
    assert len({version for name, version in versions.items() if name.startswith("kube")}) == 1


@pytest.mark.parametrize(
    ("says", "is_used"),
    [
        ("Version: {number}", True),
        ("Client Version: v{number}", True),
        ("Version: {number}1", False),
        ("Version: {number}-dispatcher", False),
        ("Version: 1{number}", False),
        ("Version: 0.0.1", False),
    ],
)
def test_a_program_on_the_path_is_used_if_it_is_of_the_pinned_version(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, is_used: bool
) -> None:
    del empty_cache
    number = PROGRAMS["opa"].version.removeprefix("v")
    program = fake_program(tmp_path / "path", "opa", says.format(number=number))
    monkeypatch.setenv("PATH", str(program.parent))

    assert programs.find("opa") == (program if is_used else None)


def test_kubebuilder_assets_are_honoured(empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del empty_cache
    program = fake_program(tmp_path / "assets", "etcd", f"etcd Version: {PROGRAMS['etcd'].version.removeprefix('v')}")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(program.parent))

    assert programs.find("etcd") == program


def test_the_cache_serves_what_is_in_it(empty_cache: Path) -> None:
    kwok = PROGRAMS["kwok"]
    program = fake_program(empty_cache, f"kwok-{kwok.version}-{programs.platform_name()}", "whatever")

    assert programs.provide("kwok") == {"kwok": program}


def test_an_unknown_program_is_named_with_those_that_there_are() -> None:
    with pytest.raises(LocalError, match=r"no pinned program 'helm'.*opa.*etcd"):
        programs.find("helm")


def go_environment(cache: Path, **more: str) -> dict[str, str]:
    """An empty cache of ours, but Go's own cache and a Go: a build takes seconds."""
    go = building.toolchain(PROGRAMS["etcd"].go_version)
    told = subprocess.run([go, "env", "GOCACHE", "GOMODCACHE"], capture_output=True, text=True, check=True).stdout.split()
    path = f"{go.parent}:{os.environ['PATH']}"
    return {**os.environ, "XDG_CACHE_HOME": str(cache), "GOCACHE": told[0], "GOMODCACHE": told[1], "PATH": path, **more}


needs_go = pytest.mark.usefixtures("etcd_is_compiled")


@pytest.fixture(scope="module")
def etcd_is_compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Fill Go's cache, so that the tests below measure linking and not compiling."""
    done = run_programs("etcd", environment=go_environment(tmp_path_factory.mktemp("compiled")))
    assert done.returncode == 0, done.stderr


@needs_go
def test_a_missing_program_is_built_with_progress_on_stderr_and_its_path_on_stdout(tmp_path: Path) -> None:
    done = run_programs("etcd", environment=go_environment(tmp_path))

    assert done.returncode == 0, done.stderr
    built = Path(done.stdout.strip())
    assert built.parent == tmp_path / "phasegate" / "bin"
    told = subprocess.run([built, "--version"], capture_output=True, text=True, check=True).stdout
    assert PROGRAMS["etcd"].version.removeprefix("v") in told
    assert "etcd" in done.stderr
    assert "all of it is done in about" in done.stderr


@needs_go
def test_an_interrupted_build_leaves_no_half_program_and_the_next_one_resumes(tmp_path: Path) -> None:
    environment = go_environment(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-m", "controller.local.programs", "etcd"], cwd=paths.ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as interrupted:
        assert interrupted.stderr is not None
        assert any("all of it is done in about" in line for line in interrupted.stderr), "the build did not begin"
        interrupted.send_signal(signal.SIGKILL)
    whole = [path for path in (tmp_path / "phasegate" / "bin").iterdir() if not path.name.startswith(".") and path.suffix != ".part"]
    assert whole == []

    done = run_programs("etcd", environment=environment)

    assert done.returncode == 0, done.stderr
    subprocess.run([done.stdout.strip(), "--version"], capture_output=True, check=True)


@needs_go
def test_two_builders_at_once_do_the_work_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "controller.local.programs", "etcd"]
    environment = go_environment(tmp_path)
    with (
        subprocess.Popen(command, cwd=paths.ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first,
        subprocess.Popen(command, cwd=paths.ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as second,
    ):
        outcomes = [process.communicate(timeout=120) for process in (first, second)]

    assert outcomes[0][0] == outcomes[1][0]
    assert sum("built in" in err for _, err in outcomes) == 1
    assert any("waiting for it" in err for _, err in outcomes)


def test_a_failed_build_shows_what_go_said_and_the_way_out(tmp_path: Path) -> None:
    fake_program(tmp_path / "bin", "go", "")
    (tmp_path / "bin" / "go").write_text(
        '#!/bin/sh\n[ "$1" = env ] && echo go9.9.9 && exit 0\necho "no space left on device" >&2; exit 1\n'
    )

    done = run_programs("etcd", environment=go_environment(tmp_path / "cache", PATH=f"{tmp_path / 'bin'}:/usr/bin:/bin"))

    assert done.returncode == 3
    assert "no space left on device" in done.stderr
    assert "free some space" in done.stderr


def test_without_go_and_without_pip_it_says_what_to_install(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.mkdir()
    for name in ("env", "sh", "uname"):
        (python / name).symlink_to(shutil.which(name) or "/bin/sh")

    done = run_programs(
        "etcd",
        environment={
            **go_environment(tmp_path / "cache", PATH=str(python)),
            # pip with nowhere to install from.
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(python),
            "PIP_CONFIG_FILE": os.devnull,
        },
    )

    assert done.returncode == 3
    assert "install Go" in done.stderr
