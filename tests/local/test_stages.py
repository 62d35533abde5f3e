"""Simulated pods fare as their image's tag says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest

from controller.local.api import Api

PODS = "/api/v1/namespaces/default/pods"


def pod_template(image: str) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "main", "image": image}]}}


@pytest.fixture(scope="module")
def fate(plane: object, admin: Api) -> Callable[[str], dict[str, Any]]:
    """Creates a Deployment (``image``) or a Job (``job:image``) and answers the status of its pod."""
    del plane
    counter = iter(range(1000))

    def status(image: str) -> dict[str, Any]:
        name, is_job = f"fate-{next(counter)}", image.startswith("job:")
        template = pod_template(image.removeprefix("job:"))
        template["metadata"] = {"labels": {"fate": name}}
        spec: dict[str, Any] = {"template": template}
        if is_job:
            template["spec"]["restartPolicy"] = "Never"
            spec["backoffLimit"] = 0
        else:
            spec["selector"] = {"matchLabels": {"fate": name}}
        path = "/apis/batch/v1/namespaces/default/jobs" if is_job else "/apis/apps/v1/namespaces/default/deployments"
        answer = admin.post(path, {"metadata": {"name": name}, "spec": spec})
        assert answer.status == HTTPStatus.CREATED, answer.body
        # A second, that the stages promise, and a little for the way there.
        time.sleep(2.5 if is_job else 1.0)
        pods = json.loads(admin.get(f"{PODS}?labelSelector=fate={name}").body)["items"]
        assert len(pods) == 1
        found: dict[str, Any] = pods[0]["status"]
        return found

    return status


def is_ready(status: dict[str, Any]) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in status["conditions"])


@pytest.mark.parametrize(
    "image", ["app", "app:v1.2", "registry.example:5000/never-ready/app:v1", "app:exit-1", "app:v1@sha256:" + "0" * 64]
)
def test_an_ordinary_pod_is_ready_within_a_second(fate: Callable[[str], dict[str, Any]], image: str) -> None:
    status = fate(image)

    assert status["phase"] == "Running"
    assert is_ready(status)
    assert status["podIP"]


def test_never_ready_runs_and_is_not_ready(fate: Callable[[str], dict[str, Any]]) -> None:
    status = fate("app:v2-never-ready")

    assert status["phase"] == "Running"
    assert not is_ready(status)
    assert "running" in status["containerStatuses"][0]["state"]


def test_crash_loop_crash_loops(fate: Callable[[str], dict[str, Any]]) -> None:
    status = fate("app:v2-crash-loop")

    assert not is_ready(status)
    assert status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert status["containerStatuses"][0]["restartCount"] >= 1


@pytest.mark.parametrize(
    ("image", "phase", "code", "reason"),
    [
        ("job:backup:v1", "Succeeded", 0, "Completed"),
        ("job:backup:exit-0", "Succeeded", 0, "Completed"),
        ("job:backup:v1-exit-42", "Failed", 42, "Error"),
        ("job:backup:oom", "Failed", 137, "OOMKilled"),
    ],
)
def test_a_job_ends_as_its_tag_says(fate: Callable[[str], dict[str, Any]], image: str, phase: str, code: int, reason: str) -> None:
    status = fate(image)

    ended = status["containerStatuses"][0]["state"]["terminated"]
    assert (status["phase"], ended["exitCode"], ended["reason"]) == (phase, code, reason)


def test_a_job_whose_image_cannot_be_pulled_never_starts(fate: Callable[[str], dict[str, Any]]) -> None:
    status = fate("job:backup:pull-error")

    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff"


def test_a_job_that_never_becomes_ready_hangs(fate: Callable[[str], dict[str, Any]]) -> None:
    assert fate("job:backup:never-ready")["phase"] == "Running"
