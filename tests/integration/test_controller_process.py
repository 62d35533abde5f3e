"""The controller as a process: it becomes ready, survives being killed, and ends when told to."""

from __future__ import annotations

from http import HTTPStatus

from support.controller import ControllerProcess

from controller.local.api import Api


def test_a_killed_controller_starts_again_and_becomes_ready(controller: ControllerProcess) -> None:
    before = controller.pid

    controller.restart()

    assert controller.pid != before
    assert Api(f"http://{controller.plane.health}").get("/readyz").status == HTTPStatus.OK


def test_sigterm_ends_it_well(controller: ControllerProcess) -> None:
    assert controller.stop() == 0
    assert not controller.is_running


def test_metrics_need_a_token(controller: ControllerProcess, admin: Api) -> None:
    assert Api(f"http://{controller.plane.metrics}").get("/metrics").status == HTTPStatus.UNAUTHORIZED
    assert Api(f"http://{controller.plane.metrics}", admin.token).get("/metrics").status == HTTPStatus.OK


def test_opa_killed_and_started_again_gets_the_policies_back(controller: ControllerProcess) -> None:
    controller.plane.stop("opa")
    controller.plane.start("opa")

    controller.wait_until_ready()
    assert Api(controller.plane.opa).get("/health?bundles").status == HTTPStatus.OK
