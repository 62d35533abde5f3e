"""What a step may be told to do: the union of the actions' parameters, and the one for the way back.

The member's name is the camelCase of the action; which member goes with which action is judged in planning, because an alias or a
team's own action cannot be known here.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from controller.api.common import (
    ApiVersion,
    ConditionType,
    Container,
    Duration,
    FreeObject,
    Image,
    KindName,
    Label,
    Namespace,
    ObjectName,
    OneMember,
    PatchDocument,
    Quantity,
    Replicas,
    Selector,
    Spec,
    StringMap,
    Text,
    Word,
    rule,
    rules,
)


class _InNamespace(Spec):
    namespace: Namespace | None = Field(default=None, description="Namespace of the target; default: the workflow's own.")


class _OnDeployment(_InNamespace):
    deployment: ObjectName = Field(description="Name of the Deployment.")


class _OnPod(_InNamespace):
    pod_name: ObjectName = Field(description="Name of the Pod.")
    grace_period: Duration | None = Field(default=None, description="How long its containers may take to stop; default: the Pod's own.")


class _OnObject(_InNamespace):
    kind: KindName = Field(description="Kind of the target.")
    name: ObjectName = Field(description="Name of the target.")


class _OnNode(Spec):
    node_name: ObjectName = Field(description="Name of the Node.")


class ScaleDeployment(_OnDeployment):
    """Parameters of scale_deployment."""

    replicas: Replicas = Field(description="How many replicas there shall be.")
    expected_replicas: Replicas | None = Field(default=None, description="How many the author believes there are now: the baseline.")


class RestartDeployment(_OnDeployment):
    """Parameters of restart_deployment."""

    grace_period: Duration | None = Field(default=None, description="How long its containers may take to stop; default: the Pods' own.")


class RollbackDeployment(_OnDeployment):
    """Parameters of rollback_deployment."""

    revision: int = Field(default=0, ge=0, le=2**31 - 1, description="Revision to go back to; 0 is the previous one.")


class UpdateImage(_OnDeployment):
    """Parameters of update_image."""

    container: Container = Field(description="Which container.")
    new_image: Image = Field(description="Its new image.")


class IncreaseResources(_OnObject):
    """Parameters of increase_resources."""

    container: Container = Field(description="Which container.")
    cpu_request: Quantity | None = Field(default=None, description="New CPU request.")
    cpu_limit: Quantity | None = Field(default=None, description="New CPU limit.")
    memory_request: Quantity | None = Field(default=None, description="New memory request.")
    memory_limit: Quantity | None = Field(default=None, description="New memory limit.")


class PatchResource(_OnObject):
    """Parameters of patch_resource."""

    api_version: ApiVersion = Field(description="API group and version of the target.")
    patch: PatchDocument = Field(description="The patch: an object, or an array of operations where patchType is json.")
    patch_type: Literal["merge", "strategic", "json", "apply"] | None = Field(
        default=None, description="How the patch is meant; default: strategic where the kind has it, else merge."
    )


class RestartPod(_InNamespace):
    """Parameters of restart_pod."""

    model_config = ConfigDict(
        json_schema_extra=rules(rule("(has(self.podName) && self.podName != '') || has(self.selector)", "name a podName or a selector"))
    )

    pod_name: ObjectName | Literal[""] | None = Field(
        default=None,
        description="Name of the Pod; empty: every Pod that the selector matches.",
        json_schema_extra={"maxLength": 253, "pattern": r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"},
    )
    selector: Selector | None = Field(default=None, description="Label selector, for example app=web.")
    grace_period: Duration | None = Field(default=None, description="How long its containers may take to stop; default: the Pod's own.")

    @model_validator(mode="after")
    def _pod_or_selector(self) -> Self:
        if not self.pod_name and not self.selector:
            raise ValueError("name a podName or a selector")
        return self


class DeletePod(_OnPod):
    """Parameters of delete_pod."""


class QuarantinePod(_OnPod):
    """Parameters of quarantine_pod."""


class ScaleStatefulset(_InNamespace):
    """Parameters of scale_statefulset."""

    statefulset: ObjectName = Field(description="Name of the StatefulSet.")
    replicas: Replicas = Field(description="How many replicas there shall be.")


class RestartDaemonset(_InNamespace):
    """Parameters of restart_daemonset."""

    daemonset: ObjectName = Field(description="Name of the DaemonSet.")


class UpdateHpa(_InNamespace):
    """Parameters of update_hpa."""

    name: ObjectName = Field(description="Name of the HorizontalPodAutoscaler.")
    min_replicas: Replicas | None = Field(default=None, description="New lower bound.")
    max_replicas: int | None = Field(default=None, ge=1, le=10_000, description="New upper bound.")
    target_cpu_utilization: int | None = Field(
        default=None, ge=1, le=1000, alias="targetCPUUtilization", description="New target of mean CPU use, in percent of the request."
    )


class UpdateConfigmap(_InNamespace):
    """Parameters of update_configmap."""

    name: ObjectName = Field(description="Name of the ConfigMap.")
    data_updates: StringMap = Field(min_length=1, description="Keys to set, with their new values.")


class UpdateSecret(_InNamespace):
    """Parameters of update_secret."""

    name: ObjectName = Field(description="Name of the Secret.")
    data_updates: StringMap = Field(min_length=1, description="Keys to set, with their new values in base64. Not reversible.")


class RotateSecrets(_InNamespace):
    """Parameters of rotate_secrets."""

    name: ObjectName = Field(description="Name of the Secret.")
    keys: list[Label] = Field(min_length=1, max_length=100, description="Keys that get new random values. Not reversible.")


class ExpandPvc(_InNamespace):
    """Parameters of expand_pvc."""

    name: ObjectName = Field(description="Name of the PersistentVolumeClaim.")
    size: Quantity = Field(description="New size; it can only grow.")


class CordonNode(_OnNode):
    """Parameters of cordon_node."""


class UncordonNode(_OnNode):
    """Parameters of uncordon_node."""


class DrainNode(_OnNode):
    """Parameters of drain_node."""

    grace_period: Duration | None = Field(default=None, description="How long containers may take to stop; default: the Pods' own.")
    ignore_daemon_sets: bool = Field(default=True, description="Leave the Pods of DaemonSets where they are instead of refusing.")
    delete_local_data: bool = Field(default=False, description="Evict Pods with emptyDir volumes too; what is in them is lost.")


class TaintNode(_OnNode):
    """Parameters of taint_node."""

    key: str = Field(min_length=1, max_length=317, description="Key of the taint.")
    value: Word | None = Field(default=None, description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(description="Effect of the taint.")


class UntaintNode(_OnNode):
    """Parameters of untaint_node."""

    key: str = Field(min_length=1, max_length=317, description="Key of the taint.")
    value: Word | None = Field(default=None, description="Value of the taint; default: any.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; default: any."
    )


class UpdateNetworkPolicy(_InNamespace):
    """Parameters of update_network_policy."""

    name: ObjectName = Field(description="Name of the NetworkPolicy.")
    spec: FreeObject = Field(description="The new spec of the NetworkPolicy.")


class MigrateWorkload(_OnObject):
    """Parameters of migrate_workload."""

    from_node: ObjectName | None = Field(default=None, description="The Node to leave.")
    to_node_selector: StringMap | None = Field(default=None, description="Labels of the Nodes to go to.")


class OptimizeResources(_OnObject):
    """Parameters of optimize_resources."""

    container: Container | None = Field(default=None, description="Which container; default: the only one.")


class EnableDebugMode(_InNamespace):
    """Parameters of enable_debug_mode."""

    pod_name: ObjectName = Field(description="Name of the Pod.")
    image: Image | None = Field(default=None, description="Image of the debug container.")
    ttl: Duration | None = Field(default=None, description="How long the debug container lives.")


class VerifyHealth(_OnObject):
    """Parameters of verify_health."""

    health_check_endpoint: Label | None = Field(
        default=None, description="Path that a probe of the workload should ask; a warning where none does. Nothing is fetched."
    )


class WaitForCondition(_OnObject):
    """Parameters of wait_for_condition."""

    api_version: ApiVersion = Field(description="API group and version of the target.")
    condition: ConditionType = Field(description="Type of the condition in its status.")
    status: Literal["True", "False", "Unknown"] = Field(default="True", description="The status to wait for.")
    timeout: Duration | None = Field(default=None, description="How long to wait; default: the step's timeout.")


class ApplyManifest(Spec):
    """Parameters of apply_manifest."""

    manifest: FreeObject = Field(description="The object to apply.")


class NotifyOnly(Spec):
    """Parameters of notify_only."""

    message: Text = Field(min_length=1, description="What to tell.")
    severity: Word | None = Field(default=None, description="How urgent it is.")


class JobAction(Spec):
    """Parameters of an action that runs as a Job."""

    action_type: Label | None = Field(default=None, description="Variant of the action, for the Job to tell apart.")
    config: StringMap | None = Field(default=None, description="Passed to the Job as it is.")


class Custom(Spec):
    """Parameters of an action that has no member of its own."""

    action_type: Label = Field(min_length=1, description="Which custom action.")
    config: StringMap | None = Field(default=None, description="Passed to the action as it is.")


class RestorePreviousDeployment(_OnDeployment):
    """Parameters of restore_previous_deployment."""

    revision: int = Field(default=0, ge=0, le=2**31 - 1, description="Revision to go back to; 0 is the previous one.")


class ScaleToPrevious(_OnDeployment):
    """Parameters of scale_to_previous."""

    previous_replicas: Replicas | None = Field(default=None, description="How many replicas there were; default: what the step recorded.")


class RestorePreviousConfig(_InNamespace):
    """Parameters of restore_previous_config."""

    name: ObjectName = Field(description="Name of the ConfigMap.")
    type: Literal["ConfigMap", "Secret"] = Field(default="ConfigMap", description="A Secret is refused by policy: no value is ever kept.")
    snapshot: Label | None = Field(default=None, description="Which recorded state; default: what the step recorded.")


def _member(description: str) -> Any:  # noqa: ANN401 - as pydantic.Field does
    return Field(default=None, description=description)


class StepParameters(OneMember):
    """What a step does it with: exactly one member, named like the action."""

    scale_deployment: ScaleDeployment | None = _member("Sets the replica count of a Deployment.")
    restart_deployment: RestartDeployment | None = _member("Rolls the Pods of a Deployment.")
    rollback_deployment: RollbackDeployment | None = _member("Takes a Deployment back to an earlier revision.")
    update_image: UpdateImage | None = _member("Sets the image of one container of a Deployment.")
    increase_resources: IncreaseResources | None = _member("Raises requests and limits of one container of a workload.")
    patch_resource: PatchResource | None = _member("Patches one object.")
    restart_pod: RestartPod | None = _member("Deletes Pods so that their owner makes new ones.")
    delete_pod: DeletePod | None = _member("Deletes one Pod.")
    quarantine_pod: QuarantinePod | None = _member("Takes one Pod out of service and keeps it for inspection.")
    scale_statefulset: ScaleStatefulset | None = _member("Sets the replica count of a StatefulSet.")
    restart_daemonset: RestartDaemonset | None = _member("Rolls the Pods of a DaemonSet.")
    update_hpa: UpdateHpa | None = _member("Changes the bounds or the target of a HorizontalPodAutoscaler.")
    update_configmap: UpdateConfigmap | None = _member("Sets keys of a ConfigMap.")
    update_config_map: UpdateConfigmap | None = _member("Another spelling of updateConfigmap.")
    update_secret: UpdateSecret | None = _member("Sets keys of a Secret.")
    rotate_secrets: RotateSecrets | None = _member("Gives keys of a Secret new random values.")
    expand_pvc: ExpandPvc | None = _member("Grows a PersistentVolumeClaim.")
    cordon_node: CordonNode | None = _member("Keeps new Pods off a Node.")
    uncordon_node: UncordonNode | None = _member("Lets Pods onto a Node again.")
    drain_node: DrainNode | None = _member("Moves the Pods of a Node elsewhere.")
    taint_node: TaintNode | None = _member("Puts a taint on a Node.")
    untaint_node: UntaintNode | None = _member("Takes a taint off a Node.")
    update_network_policy: UpdateNetworkPolicy | None = _member("Replaces the spec of a NetworkPolicy.")
    migrate_workload: MigrateWorkload | None = _member("Moves a workload to other Nodes.")
    optimize_resources: OptimizeResources | None = _member("Brings requests and limits in line with use.")
    enable_debug_mode: EnableDebugMode | None = _member("Adds a debug container to a Pod.")
    verify_health: VerifyHealth | None = _member("Waits until a workload is healthy; changes nothing.")
    wait_for_condition: WaitForCondition | None = _member("Waits for a condition of an object; changes nothing.")
    apply_manifest: ApplyManifest | None = _member("Applies one object.")
    notify_only: NotifyOnly | None = _member("Tells people something; changes nothing.")
    backup_data: JobAction | None = _member("Runs the Job that backs data up.")
    cleanup_storage: JobAction | None = _member("Runs the Job that frees storage.")
    compact_storage: JobAction | None = _member("Runs the Job that compacts storage.")
    collect_diagnostics: JobAction | None = _member("Runs the Job that collects diagnostics.")
    create_heap_dump: JobAction | None = _member("Runs the Job that takes a heap dump.")
    audit_logs: JobAction | None = _member("Runs the Job that audits logs.")
    failover_database: JobAction | None = _member("Runs the Job that fails a database over.")
    repair_database: JobAction | None = _member("Runs the Job that repairs a database.")
    restart_network: JobAction | None = _member("Runs the Job that restarts network components.")
    reset_service_mesh: JobAction | None = _member("Runs the Job that resets the service mesh.")
    custom: Custom | None = _member("Any other action, with a map of strings.")


class _UndoMembers(OneMember):
    restore_previous_deployment: RestorePreviousDeployment | None = _member("Takes a Deployment back to an earlier revision.")
    scale_to_previous: ScaleToPrevious | None = _member("Sets the replica count back to what it was.")
    restore_previous_config: RestorePreviousConfig | None = _member("Sets a ConfigMap back to what it was.")


class RollbackParameters(_UndoMembers):
    """What a step is taken back with: exactly one member, named like the undo action."""

    uncordon_node: UncordonNode | None = _member("Lets Pods onto the Node again.")
    custom: Custom | None = _member("Any other undo action, with a map of strings.")


class ExecutionParameters(StepParameters, _UndoMembers):
    """What an attempt works with: a member of the step's union or of the rollback's."""
