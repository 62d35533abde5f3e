"""docs/operate.md: whoever is woken by an alert, or finds a reason in a status, finds its entry there."""

from __future__ import annotations

import re
from typing import get_args

import pytest
import yaml

from controller import paths
from controller.core.conditions import ATTEMPT_REASONS, REASONS
from controller.gates.client import Failure

TEXT = (paths.ROOT / "docs" / "operate.md").read_text()
HEADINGS = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
# Those that no gate gives as the reason of a denial.
UNJUDGED = {"policy_not_ready", "monitoring_timeout_cannot_verify_success"}


def section(heading: str) -> str:
    """What stands between a heading and the next one."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"docs/operate.md has no heading {heading}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| ")]


def alerts() -> list[str]:
    manifest = yaml.safe_load((paths.DEPLOY / "components" / "monitoring" / "alerts.yaml").read_text())
    return [rule["alert"] for group in manifest["spec"]["groups"] for rule in group["rules"]]


def failure_reasons() -> list[str]:
    table = (paths.POLICIES / "lib" / "verdict.rego").read_text().partition("_error_types := {")[2].partition("}")[0]
    found = re.findall(r'^\t"(\w+)":', table, re.MULTILINE)
    assert found
    return sorted({*found, *UNJUDGED})


@pytest.mark.parametrize("alert", alerts())
def test_every_alert_says_what_it_means_where_to_look_and_what_to_do(alert: str) -> None:
    entry = section(alert)
    assert re.findall(r"^- \*\*(\w+)\*\*: ?(?:\S|$)", entry, re.MULTILINE) == ["Means", "Look", "Do"]


def test_no_entry_is_left_of_an_alert_that_is_gone() -> None:
    assert [heading for heading in HEADINGS if heading.startswith("WorkflowExecution")] == sorted(alerts(), key=HEADINGS.index)


@pytest.mark.parametrize("reason", failure_reasons())
def test_every_failure_reason_has_its_row_with_the_reason_of_the_condition(reason: str) -> None:
    found = {row[0]: row[1:] for row in rows(section("Failure reasons"))}
    condition, means, remedy = found[f"`{reason}`"]
    if reason != "monitoring_timeout_cannot_verify_success":
        assert condition == f"`{''.join(part.capitalize() for part in reason.split('_'))}`"
    assert means
    assert remedy


@pytest.mark.parametrize(("whose", "reasons"), [("Of a workflow:", REASONS), ("Of an attempt", ATTEMPT_REASONS)])
def test_every_reason_of_every_condition_has_its_row(whose: str, reasons: dict[str, dict[str, str]]) -> None:
    _, _, below = section("Conditions").partition(f"\n{whose}")
    table = rows(below.partition("\nOf ")[0])
    found = {(kind.strip("`"), reason.strip("`")) for kind, reason, means, *_ in table[1:] if means and reason != "any other"}
    assert found - {("---", "---")} == {(kind, reason) for kind, those in reasons.items() for reason in those}


@pytest.mark.parametrize("failure", get_args(Failure))
def test_every_way_to_get_no_decision_stands_where_its_alert_is(failure: str) -> None:
    assert f"`code={failure}`" in section("WorkflowExecutionPolicyNotReady") + section("WorkflowExecutionOPADown")


def test_links_within_the_page_lead_somewhere() -> None:
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in HEADINGS}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors
