"""Find the pinned programs: on the PATH, in KUBEBUILDER_ASSETS, in the user's cache, or by building them.

`python -m controller.local.programs NAME...` prints where they are. The versions stand in tools/*/go.mod and nowhere else.
Standard library only: `make` runs this before anything is installed.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from controller import paths
from controller.local.errors import LocalError

_ASKING_TAKES_AT_MOST = 20
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_KUBERNETES_FLAGS = (
    "-X k8s.io/component-base/version.gitVersion={version} -X k8s.io/component-base/version.gitMajor={major} "
    "-X k8s.io/component-base/version.gitMinor={minor} -X k8s.io/component-base/version.gitTreeState=clean "
    "-X k8s.io/component-base/version.gitCommit=0000000000000000000000000000000000000000 "
    "-X k8s.io/component-base/version.buildDate=2026-01-01T00:00:00Z"
)


@dataclass(frozen=True, slots=True)
class Program:
    """One program: where its source is pinned, how it is built and how it is asked for its version.

    ``seconds`` is what a cold build takes on two cores once the programs before it in PROGRAMS are built; ``tags`` are Go's build tags.
    """

    name: str
    family: str
    module: str
    package: str
    seconds: int
    version_arguments: tuple[str, ...] = ("--version",)
    linker_flags: str = ""
    tags: str = ""

    @property
    def folder(self) -> Path:
        """Where its go.mod lies."""
        return paths.TOOLS / self.family

    @property
    def version(self) -> str:
        """The version pinned in go.mod, such as ``v1.36.3``."""
        found = re.search(rf"^\s*(?:require )?{re.escape(self.module)} (v\S+)", self._go_mod(), re.MULTILINE)
        if found is None:
            raise LocalError(f"{self.folder / 'go.mod'} does not require {self.module}; restore it from the repository")
        return found[1]

    @property
    def go_version(self) -> tuple[int, ...]:
        """The oldest Go that builds it."""
        found = re.search(r"^go (\d+(?:\.\d+)*)", self._go_mod(), re.MULTILINE)
        return tuple(int(part) for part in found[1].split(".")) if found else ()

    @property
    def cached(self) -> Path:
        """Where the cache keeps it, keyed by version and platform."""
        return cache_folder() / "bin" / f"{self.name}-{self.version}-{platform_name()}"

    @property
    def flags(self) -> str:
        """The linker flags, with the version that the program shall tell of itself."""
        major, minor, *_ = self.version.removeprefix("v").split(".")
        return f"-s -w {self.linker_flags.format(version=self.version, number=self.version.removeprefix('v'), major=major, minor=minor)}"

    def _go_mod(self) -> str:
        try:
            return (self.folder / "go.mod").read_text()
        except OSError as exc:
            raise LocalError(f"cannot read the pinned version of {self.name}: {exc}; run from a complete checkout") from exc


def _kubernetes(name: str, seconds: int, *version_arguments: str) -> Program:
    package = f"k8s.io/kubernetes/cmd/{name}"
    return Program(name, "kubernetes", "k8s.io/kubernetes", package, seconds, version_arguments or ("--version",), _KUBERNETES_FLAGS)


PROGRAMS: Mapping[str, Program] = {
    program.name: program
    for program in (
        Program(
            "opa",
            "opa",
            "github.com/open-policy-agent/opa",
            "github.com/open-policy-agent/opa",
            75,
            ("version",),
            "-X github.com/open-policy-agent/opa/version.Vcs={version}",
        ),
        Program("etcd", "etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3", 25),
        _kubernetes("kube-apiserver", 200),
        _kubernetes("kube-controller-manager", 55),
        _kubernetes("kube-scheduler", 5),
        _kubernetes("kubectl", 20, "version", "--client"),
        _kubernetes("kubelet", 20),
        Program(
            "kwok",
            "kwok",
            "sigs.k8s.io/kwok",
            "sigs.k8s.io/kwok/cmd/kwok",
            60,
            linker_flags="-X sigs.k8s.io/kwok/pkg/consts.Version={version}",
        ),
        Program(
            "regal",
            "regal",
            "github.com/styrainc/regal",
            "github.com/styrainc/regal",
            30,
            ("version",),
            "-X github.com/styrainc/regal/pkg/version.Version={number}",
        ),
        Program(
            "promtool",
            "prometheus",
            "github.com/prometheus/prometheus",
            "github.com/prometheus/prometheus/cmd/promtool",
            115,
            linker_flags="-X github.com/prometheus/common/version.Version={number}",
            # Finding targets in every cloud there is takes more than half of the build, and rules are tested without.
            tags="remove_all_sd",
        ),
    )
}


def cache_folder() -> Path:
    """What a second checkout shares with the first."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "phasegate"


def platform_name() -> str:
    """The platform in Go's words, such as ``linux-amd64``."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}-{_ARCHITECTURES.get(machine, machine)}"


def find(name: str) -> Path | None:
    """The program of the pinned version, if it is here already."""
    program = _known(name)
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    for folder in (os.environ.get("PATH"), assets):
        found = shutil.which(name, path=folder) if folder else None
        if found is not None and _tells_its_version(program, found):
            return Path(found).absolute()
    return program.cached if os.access(program.cached, os.X_OK) else None


def provide(*names: str) -> dict[str, Path]:
    """All the programs asked for; what is not here is built, with progress on stderr."""
    here = {name: find(name) for name in names}
    missing = [program for name, program in PROGRAMS.items() if name in here and here[name] is None]
    if missing:
        # Only now, because most calls find everything and should cost nothing.
        from controller.local import building  # noqa: PLC0415

        building.build(missing)
    return {name: path or PROGRAMS[name].cached for name, path in here.items()}


def _known(name: str) -> Program:
    try:
        return PROGRAMS[name]
    except KeyError:
        raise LocalError(f"there is no pinned program {name!r}; there are {', '.join(PROGRAMS)}") from None


def _tells_its_version(program: Program, path: str) -> bool:
    """Whether the program on the PATH is the pinned one: another version would behave differently from what is tested."""
    try:
        told = subprocess.run(
            [path, *program.version_arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ASKING_TAKES_AT_MOST,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    number = re.escape(program.version.removeprefix("v"))
    return re.search(rf"(?<![\w.])v?{number}(?![\w.+-])", told.stdout + told.stderr) is not None


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one path a line, in the order asked for."""
    parser = argparse.ArgumentParser(prog="python -m controller.local.programs", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="+", choices=list(PROGRAMS), metavar="NAME", help=f"one of {', '.join(PROGRAMS)}")
    names = parser.parse_args(arguments).names
    try:
        provided = provide(*names)
    except LocalError as exc:
        print(f"phasegate: {exc}", file=sys.stderr)
        return 3
    for name in names:
        print(provided[name])
    return 0


if __name__ == "__main__":
    sys.exit(main())
