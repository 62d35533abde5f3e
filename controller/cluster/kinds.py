"""The kinds this product reads or writes, and the URL paths they live under.

A kind that is not in the table cannot be named in a request: there is no discovery on the hot path, and a policy or a manifest
that names something else gets a clear refusal instead of a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from controller.core.errors import PermanentError


@dataclass(frozen=True, slots=True)
class Kind:
    """One served resource type."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """The version without its group."""
        return self.api_version.rpartition("/")[2]

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of the collection, of one object, or of a subresource of it.

        ``namespace`` None on a namespaced kind means all namespaces; on a cluster-scoped kind it is ignored.

        Raises:
            PermanentError: namespace or name would make the path that of something else.
        """
        parts = [f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", quote(_segment(namespace), safe="")]
        parts.append(self.plural)
        if name is not None:
            # A colon is usual in the names of RBAC objects and users; everything else that matters in a path is quoted.
            parts.append(quote(_segment(name), safe=":"))
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)


def _segment(name: str) -> str:
    """One segment of a path: a client folds `..` into the place above, and `.` and nothing into the whole collection."""
    if name in {"", ".", ".."}:
        raise PermanentError(f"{name!r} is no name that an object can have")
    return name


def _table() -> dict[tuple[str, str], Kind]:
    rows = (
        ("apps/v1", "Deployment", "deployments", True),
        ("apps/v1", "StatefulSet", "statefulsets", True),
        ("apps/v1", "DaemonSet", "daemonsets", True),
        ("apps/v1", "ReplicaSet", "replicasets", True),
        ("apps/v1", "ControllerRevision", "controllerrevisions", True),
        ("v1", "Pod", "pods", True),
        ("v1", "Node", "nodes", False),
        ("v1", "Namespace", "namespaces", False),
        ("v1", "ConfigMap", "configmaps", True),
        ("v1", "Secret", "secrets", True),
        ("v1", "Service", "services", True),
        ("v1", "ServiceAccount", "serviceaccounts", True),
        ("v1", "PersistentVolumeClaim", "persistentvolumeclaims", True),
        ("v1", "PersistentVolume", "persistentvolumes", False),
        ("v1", "ResourceQuota", "resourcequotas", True),
        ("v1", "LimitRange", "limitranges", True),
        ("v1", "Event", "events", True),
        ("storage.k8s.io/v1", "StorageClass", "storageclasses", False),
        ("batch/v1", "Job", "jobs", True),
        ("batch/v1", "CronJob", "cronjobs", True),
        ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", True),
        ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", True),
        ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", True),
        ("networking.k8s.io/v1", "Ingress", "ingresses", True),
        ("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", True),
        ("coordination.k8s.io/v1", "Lease", "leases", True),
        ("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews", False),
        ("authentication.k8s.io/v1", "TokenReview", "tokenreviews", False),
        ("workflowexecution.kubernaut.ai/v1alpha1", "WorkflowExecution", "workflowexecutions", True),
        ("workflowexecution.kubernaut.ai/v1alpha1", "WorkflowApproval", "workflowapprovals", True),
        ("kubernetesexecution.kubernaut.ai/v1alpha1", "KubernetesExecution", "kubernetesexecutions", True),
        ("remediation.kubernaut.ai/v1alpha1", "RemediationRequest", "remediationrequests", True),
        ("aianalysis.kubernaut.ai/v1alpha1", "AIAnalysis", "aianalyses", True),
    )
    return {(api_version, kind): Kind(api_version, kind, plural, scope) for api_version, kind, plural, scope in rows}


KINDS = _table()


def kind_of(api_version: str, kind: str) -> Kind | None:
    """The table's entry, or None when this product has no business with that kind."""
    return KINDS.get((api_version, kind))


WORKFLOW = KINDS["workflowexecution.kubernaut.ai/v1alpha1", "WorkflowExecution"]
EXECUTION = KINDS["kubernetesexecution.kubernaut.ai/v1alpha1", "KubernetesExecution"]
APPROVAL = KINDS["workflowexecution.kubernaut.ai/v1alpha1", "WorkflowApproval"]
REMEDIATION_REQUEST = KINDS["remediation.kubernaut.ai/v1alpha1", "RemediationRequest"]
AI_ANALYSIS = KINDS["aianalysis.kubernaut.ai/v1alpha1", "AIAnalysis"]
CONFIG_MAP = KINDS["v1", "ConfigMap"]
EVENT = KINDS["v1", "Event"]
POD = KINDS["v1", "Pod"]
LEASE = KINDS["coordination.k8s.io/v1", "Lease"]
ACCESS_REVIEW = KINDS["authorization.k8s.io/v1", "SubjectAccessReview"]
TOKEN_REVIEW = KINDS["authentication.k8s.io/v1", "TokenReview"]
