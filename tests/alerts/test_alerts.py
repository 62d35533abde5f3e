"""The alert rules of deploy/components/monitoring: what promtool says of them, and that what they look at is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from controller import paths
from controller.gates.client import Failure
from controller.local import programs
from controller.observe.metrics import Metrics

HERE = Path(__file__).parent
COMPONENT = paths.DEPLOY / "components" / "monitoring"
SUITES = sorted(HERE.glob("*.yaml"))
PREFIX = "WorkflowExecution"
EXPECTED = {
    "StuckInPhase",
    "HighValidationFailureRate",
    "HighDeletionRate",
    "ComplexWorkflows",
    "HighFailureRate",
    "WatchReconnectionRate",
    "StatusConflicts",
    "RollbackFailed",
    "PolicyRejected",
    "PolicyNotReady",
    "ApprovalWaitingLong",
    "OPADown",
}
_SELECTOR = re.compile(r"(kubernaut_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_LABEL_LISTS = re.compile(r"\b(?:by|without|ignoring|on) \(([^)]*)\)")


def groups() -> list[dict[str, Any]]:
    manifest: dict[str, Any] = yaml.safe_load((COMPONENT / "alerts.yaml").read_text())
    found: list[dict[str, Any]] = manifest["spec"]["groups"]
    return found


RULES: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in groups() for rule in group["rules"]}
CASES = [
    (case["name"], expectation)
    for suite in SUITES
    for case in yaml.safe_load(suite.read_text())["tests"]
    for expectation in case["alert_rule_test"]
]


@pytest.fixture(scope="module")
def promtool() -> Path:
    return programs.provide("promtool")["promtool"]


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests beside rules.yaml, which holds the rules as Prometheus reads them."""
    folder = tmp_path_factory.mktemp("alerts")
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups()}, sort_keys=False))
    for suite in SUITES:
        shutil.copy(suite, folder)
    return folder


def say(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_finds_nothing_wrong_with_the_rules(promtool: Path, suites: Path) -> None:
    assert f"{len(EXPECTED)} rules found" in say(promtool, "check", "rules", "--lint=all", "--lint-fatal", suites / "rules.yaml")


@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.stem)
def test_the_alerts_are_raised_when_they_should_be_and_not_otherwise(promtool: Path, suites: Path, suite: Path) -> None:
    say(promtool, "test", "rules", "--diff", suites / suite.name)


def test_there_are_the_twelve_alerts_of_the_reference() -> None:
    assert set(RULES) == {f"{PREFIX}{name}" for name in EXPECTED}


@pytest.mark.parametrize("alert", sorted(RULES))
def test_every_alert_says_how_bad_it_is_what_it_means_and_where_to_read_on(alert: str) -> None:
    rule = RULES[alert]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/operate.md#{alert.lower()}"


@pytest.mark.parametrize("alert", sorted(RULES))
def test_every_alert_is_seen_raised_and_seen_not_raised_below_its_threshold_and_for_too_short_a_time(alert: str) -> None:
    raised = {name for name, expected in CASES if expected["alertname"] == alert and expected["exp_alerts"]}
    silent = {name for name, expected in CASES if expected["alertname"] == alert and not expected["exp_alerts"]} - raised
    assert raised
    assert len(silent) >= (2 if "for" in RULES[alert] else 1)


def exposed() -> Iterator[tuple[str, dict[str, str]]]:
    """Name and labels of every series that a controller shows which has loaded policies and lost its OPA once."""
    metrics = Metrics()
    metrics.look_at(workflows=list, executions=list, queued=lambda: 0, now=lambda: datetime.now(UTC))
    metrics.observe_policy_set("revision")
    metrics.policy_configmaps.labels("rejected").set(0)
    metrics.observe_reconnection("ConfigMap")
    metrics.observe_gate("planning", "allow", "", 0)
    for failure in get_args(Failure):
        metrics.observe_gate("planning", "error", failure, 0)
    yield from ((sample.name, dict(sample.labels)) for family in metrics.registry.collect() for sample in family.samples)


def values_of(operator: str, value: str) -> list[str]:
    """Each value that a matcher names."""
    return value.split("|") if operator in {"=~", "!~"} else [value]


SERIES = list(exposed())


@pytest.mark.parametrize("alert", sorted(RULES))
def test_every_series_that_an_alert_looks_at_is_one_that_the_controller_shows(alert: str) -> None:
    selectors = _SELECTOR.findall(RULES[alert]["expr"])
    assert selectors
    for metric, matchers in selectors:
        shown = [labels for name, labels in SERIES if name == metric]
        assert shown, f"there is no metric {metric}"
        for label, operator, value in _MATCHER.findall(matchers):
            there = {labels.get(label) for labels in shown}
            assert set(values_of(operator, value)) <= there, f"{metric} has no {label}={value}"


@pytest.mark.parametrize("alert", sorted(RULES))
def test_alerts_are_told_apart_by_labels_that_there_are(alert: str) -> None:
    metrics = {metric for metric, _ in _SELECTOR.findall(RULES[alert]["expr"])}
    known = {label for name, labels in SERIES if name in metrics for label in labels}
    named = {label.strip() for labels in _LABEL_LISTS.findall(RULES[alert]["expr"]) for label in labels.split(",")}
    assert named <= known


def rendered(tmp_path: Path, *components: Path) -> list[dict[str, Any]]:
    """The objects of the base with these components."""

    def seen_from_here(path: Path) -> str:
        return os.path.relpath(path, tmp_path.resolve())

    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [seen_from_here(paths.DEPLOY / "base")],
        "components": [seen_from_here(component) for component in components],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return list(yaml.safe_load_all(say(programs.provide("kubectl")["kubectl"], "kustomize", tmp_path)))


def test_without_the_component_nothing_needs_the_prometheus_operator(tmp_path: Path) -> None:
    assert not [found for found in rendered(tmp_path) if found["apiVersion"].startswith("monitoring.coreos.com/")]


def test_the_component_renders_with_the_base_and_what_it_selects_is_there(tmp_path: Path) -> None:
    found = {(each["kind"], each["metadata"]["name"]): each for each in rendered(tmp_path, COMPONENT)}
    deployment = found["Deployment", "workflow-controller"]
    service = found["Service", "workflow-controller-metrics"]
    monitor = found["ServiceMonitor", "workflow-controller"]
    pod = deployment["spec"]["template"]
    ports = {port["name"] for container in pod["spec"]["containers"] for port in container.get("ports") or []}

    assert found["PrometheusRule", "workflow-controller"]["spec"] == {"groups": groups()}
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= {port["name"] for port in service["spec"]["ports"]}
    assert {each["metadata"]["namespace"] for each in (deployment, service, monitor)} == {"kubernaut-system"}
