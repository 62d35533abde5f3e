"""A state folder: what `phasegate local` keeps of one control plane, and the lock that lets one command at a time change it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from controller.local import identity
from controller.local.errors import LocalError


@dataclass(frozen=True, slots=True)
class Record:
    """What must be the same at the next `up`. Which processes run is not in it: /proc knows better."""

    nodes: int
    controller: bool
    ports: Mapping[str, int] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)
    applied: str = ""


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of a state folder."""

    path: Path

    @property
    def audit(self) -> Path:
        """What was decided and done."""
        return self.path / "audit"

    @property
    def logs(self) -> Path:
        """One log per process."""
        return self.path / "logs"

    @property
    def certificates(self) -> Path:
        """Where kube-apiserver puts the serving certificate that it signs itself."""
        return self.path / "certificates"

    @property
    def authority(self) -> Path:
        """What clients trust: the serving certificate with its issuer."""
        return self.certificates / "apiserver.crt"

    @property
    def signing_key(self) -> Path:
        """Signs ServiceAccount tokens."""
        return self.path / "service-accounts.key"

    @property
    def token_file(self) -> Path:
        """The users that the API server knows."""
        return self.path / "tokens.csv"

    @property
    def opa_config(self) -> Path:
        """Tells OPA where its bundle comes from."""
        return self.path / "opa.json"

    @property
    def etcd_data(self) -> Path:
        """Everything that the control plane knows."""
        return self.path / "etcd"

    @property
    def kubectl_cache(self) -> Path:
        """Kubectl's discovery cache: never the user's, whose entries another plane on the same port may have left."""
        return self.path / "kubectl-cache"

    def kubeconfig(self, user: str) -> Path:
        """The kubeconfig of one user."""
        return self.path / "kubeconfigs" / f"{user}.yaml"

    def log(self, name: str) -> Path:
        """The log of one process."""
        return self.logs / f"{name}.log"

    def read(self) -> Record | None:
        """What is recorded; None before the first `up`."""
        try:
            return Record(**json.loads((self.path / "state.json").read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as exc:
            raise LocalError(
                f"cannot read {self.path / 'state.json'}: {exc}; `phasegate local down --purge` removes it with all that it started"
            ) from exc

    def write(self, record: Record) -> None:
        """Record it, whole or not at all."""
        identity.write_private(self.path / "state.json", json.dumps(asdict(record), indent=2) + "\n")

    def prepare(self) -> None:
        """Make the folder and what does not change between starts."""
        try:
            for folder in (self.path, self.logs, self.certificates, self.path / "kubeconfigs"):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as exc:
            raise LocalError(f"cannot make the state folder {self.path}: {exc}; give another with --state") from exc
        if not self.signing_key.exists():
            identity.write_private(self.signing_key, identity.new_signing_key())

    def purge(self) -> None:
        """Remove the folder; one that was not made by us is left alone."""
        if self.path.exists() and not (self.path / "state.json").exists() and any(entry.name != ".lock" for entry in self.path.iterdir()):
            raise LocalError(f"{self.path} holds no state of a local control plane and is left as it is; name another folder with --state")
        shutil.rmtree(self.path, ignore_errors=True)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder for one command; another one waits."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.path / ".lock").open("a") as lock:
            # A child that is being started holds it too, until it is itself: nobody sees a half-started process.
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def opa_config(bundle: str) -> str:
    """OPA polls the controller for its bundle (a long poll: a new one is there within milliseconds) and tells it what it made of it."""
    polling = {"min_delay_seconds": 1, "max_delay_seconds": 1, "long_polling_timeout_seconds": 60}
    document = {
        "services": {"controller": {"url": f"http://{bundle}"}},
        "bundles": {"kubernaut": {"service": "controller", "resource": "/bundles/kubernaut.tar.gz", "polling": polling}},
        "status": {"service": "controller"},
    }
    return json.dumps(document, indent=2) + "\n"
