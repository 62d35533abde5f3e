"""The clock of the machine is set by an hour under a running controller: nothing expires, and everything goes on."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.controller import ControllerProcess
from support.metrics import total
from support.patience import until
from support.workflows import FAST, World, deployment, has_ended, is_waiting, phase, seen_by, states, step, tell, told, workflow

from controller.cluster.kinds import EXECUTION, WORKFLOW
from controller.local.api import Api
from controller.local.plane import Plane

HOUR = 3600

# What a process sees of the time of day; clocks that never jump are left alone.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long offset(void) {
  long seconds = 0;
  FILE *file = fopen(getenv("CLOCK_OFFSET"), "r");
  if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
  return seconds;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
  int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
  int code = real(clock, now);
  if (code == 0 && clock == CLOCK_REALTIME) now->tv_sec += offset();
  return code;
}
int gettimeofday(struct timeval *now, void *zone) {
  int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
  int code = real(now, zone);
  if (code == 0) now->tv_sec += offset();
  return code;
}
time_t time(time_t *kept) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (kept) *kept = now.tv_sec;
  return now.tv_sec;
}
"""


@dataclass(frozen=True)
class WallClock:
    """The clock that the controller under test is shown."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Makes a process see it."""
        return {"LD_PRELOAD": str(self.folder / "clock.so"), "CLOCK_OFFSET": str(self._file)}

    def build(self) -> None:
        """Compile what stands between a process and its libc."""
        compiler = shutil.which("gcc")
        assert compiler is not None, "this test compiles a few lines of C with gcc"
        source = self.folder / "clock.c"
        source.write_text(SHIM)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", self.folder / "clock.so", source, "-ldl"], check=True, timeout=60)
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """Set it so far from the true time."""
        fresh = self._file.with_suffix(".fresh")
        fresh.write_text(str(seconds))
        fresh.replace(self._file)

    @property
    def _file(self) -> Path:
        return self.folder / "offset"


@pytest.fixture
def wall_clock(tmp_path: Path) -> WallClock:
    clock = WallClock(tmp_path)
    clock.build()
    return clock


@pytest.fixture
def controller(plane: Plane, controller_process: ControllerProcess, tmp_path: Path, wall_clock: WallClock) -> Iterator[ControllerProcess]:
    """A controller that is shown the wall clock of the test."""
    controller_process.kill()
    waits_ten_minutes = {**FAST, "APPROVAL_TIMEOUT": "10m", **wall_clock.environment}
    process = ControllerProcess(plane, tmp_path / "controller.log", waits_ten_minutes)
    process.start()
    yield process
    process.kill()


def judged(controller: ControllerProcess, admin: Api, gate: str) -> float:
    """How often a gate was asked so far."""
    return total(controller.plane, "kubernaut_gate_decisions_total", token=admin.token, gate=gate)


async def look_again(world: World, controller: ControllerProcess, admin: Api) -> None:
    """Edit what waits, and see that it was judged since."""
    approvals, steps = judged(controller, admin, "approval"), judged(controller, admin, "verify")
    edit = {"metadata": {"annotations": {"look": secrets.token_hex(4)}}}
    for kind, name in ((WORKFLOW, "asks"), (WORKFLOW, "runs"), (EXECUTION, "runs-step-1")):
        await world.patch(kind, name, edit)
    await until(lambda: judged(controller, admin, "approval") > approvals, what="a look at the approval, unless it has expired")
    await until(lambda: judged(controller, admin, "verify") > steps, what="a look at the step, unless it has expired")


async def test_a_clock_that_jumps_ends_no_approval_and_no_step_that_runs(
    plane: Plane, world: World, controller: ControllerProcess, wall_clock: WallClock, admin: Api
) -> None:
    wanted = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "condition": "Available", "timeout": "10m"}
    await world.create(workflow("asks", tell(1), executionStrategy={"approvalRequired": True}))
    await world.create(workflow("runs", step(1, "wait-for-condition", wanted, timeout="10m")))
    asked = await world.until(WORKFLOW, "asks", lambda w: "approval_required" in is_waiting(w))
    runs = await world.until(WORKFLOW, "runs", lambda w: phase(w) == "executing")
    await world.until(EXECUTION, "runs-step-1", lambda a: phase(a) == "verifying")

    for hours in (1, -1):
        wall_clock.jump(hours * HOUR)
        # What is counted first may have begun before the jump.
        await look_again(world, controller, admin)
        await look_again(world, controller, admin)
        for name, known in (("asks", asked), ("runs", runs)):
            found = await world.read(WORKFLOW, name)
            assert (phase(found), states(found)) == (phase(known), states(known)), told(found)
        assert (await world.read(WORKFLOW, "asks"))["status"]["approval"]["expiresAt"] == asked["status"]["approval"]["expiresAt"]
    assert controller.log.read_text().count('"wall_clock_jumped"') == 1

    async with seen_by(plane.users["approver"], world.namespace) as approver:
        await approver.decide("asks", "approver")
    await world.roll_out(deployment())
    for name in ("asks", "runs"):
        ended = await world.until(WORKFLOW, name, has_ended)
        assert phase(ended) == "completed", told(ended)
