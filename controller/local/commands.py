"""The command line of every process of the local control plane."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from controller import paths
from controller.local.folder import Folder

PORTS = ("etcd", "etcd-peer", "kube-apiserver", "opa", "bundle", "health", "metrics")
SERVERS = ("etcd", "kube-apiserver", "opa")
WORKERS = ("kube-controller-manager", "kube-scheduler", "kwok")
CONTROLLER = "controller"
PROGRAMS = (*SERVERS, *WORKERS, "kubectl")

# The ports that a process listens on; what is not here listens nowhere.
LISTENS: Mapping[str, tuple[str, ...]] = {
    "etcd": ("etcd", "etcd-peer"),
    "kube-apiserver": ("kube-apiserver",),
    "opa": ("opa",),
    CONTROLLER: ("bundle", "health", "metrics"),
}
SIMULATED = "kwok.x-k8s.io/node"
_STAGES = Path(__file__).with_name("stages.yaml")


def address(port: int) -> str:
    """Loopback, always."""
    return f"127.0.0.1:{port}"


def command(name: str, folder: Folder, ports: Mapping[str, int], programs: Mapping[str, Path]) -> list[str]:
    """What to execute for the process of that name."""
    match name:
        case "etcd":
            arguments = _etcd(folder, ports)
        case "kube-apiserver":
            arguments = _apiserver(folder, ports)
        case "kube-controller-manager":
            arguments = _controller_manager(folder)
        case "kube-scheduler":
            arguments = [*_worker(folder, name), "--kube-api-qps=200", "--kube-api-burst=400"]
        case "kwok":
            arguments = [
                f"--kubeconfig={folder.kubeconfig(name)}",
                f"--config={_STAGES}",
                f"--manage-nodes-with-annotation-selector={SIMULATED}=fake",
                "--node-ip=127.0.0.1",
                "--cidr=10.100.0.1/16",
                # A Lease per node, as a kubelet keeps it; without one the controller-manager gives the node up.
                "--node-lease-duration-seconds=40",
            ]
        case "opa":
            arguments = ["run", "--server", f"--addr={address(ports['opa'])}", f"--config-file={folder.opa_config}"]
            arguments += ["--log-level=error", "--disable-telemetry"]
        case _:
            return _controller(folder, ports, programs)
    return [str(programs[name]), *arguments]


def environment(name: str) -> dict[str, str]:
    """What a process needs in its environment besides ours."""
    if name == CONTROLLER:
        return {"PYTHONPATH": str(paths.ROOT)}
    if name == "opa":
        # As in deploy/base/controller.yaml, which says why.
        return {"GOGC": os.environ.get("GOGC", "800"), "GOMEMLIMIT": os.environ.get("GOMEMLIMIT", "192MiB")}
    # Their heaps are small, and a quarter of the API server's time goes into collecting its own.
    return {"GOGC": os.environ.get("GOGC", "300")}


def _etcd(folder: Folder, ports: Mapping[str, int]) -> list[str]:
    clients, peers = (f"http://{address(ports[name])}" for name in ("etcd", "etcd-peer"))
    return [
        "--name=local",
        f"--data-dir={folder.etcd_data}",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=local={peers}",
        # A killed process loses nothing by it; a power cut may, and then `down --purge` is the way out.
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _apiserver(folder: Folder, ports: Mapping[str, int]) -> list[str]:
    return [
        f"--etcd-servers=http://{address(ports['etcd'])}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={ports['kube-apiserver']}",
        f"--cert-dir={folder.certificates}",
        f"--token-auth-file={folder.token_file}",
        "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder.signing_key}",
        f"--service-account-signing-key-file={folder.signing_key}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--endpoint-reconciler-type=none",
        "--profiling=false",
    ]


def _controller_manager(folder: Folder) -> list[str]:
    return [
        *_worker(folder, "kube-controller-manager"),
        "--use-service-account-credentials",
        f"--service-account-private-key-file={folder.signing_key}",
        f"--root-ca-file={folder.authority}",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]


def _worker(folder: Folder, name: str) -> list[str]:
    return [f"--kubeconfig={folder.kubeconfig(name)}", "--leader-elect=false", "--secure-port=0", "--profiling=false"]


def _controller(folder: Folder, ports: Mapping[str, int], programs: Mapping[str, Path]) -> list[str]:
    return [
        sys.executable,
        "-m",
        "controller",
        "run",
        f"--kubeconfig={folder.kubeconfig(CONTROLLER)}",
        f"--opa=http://{address(ports['opa'])}",
        f"--opa-binary={programs['opa']}",
        f"--bundle-addr={address(ports['bundle'])}",
        f"--health-addr={address(ports['health'])}",
        f"--metrics-addr={address(ports['metrics'])}",
        f"--audit-dir={folder.audit}",
    ]
