"""What `phasegate watch` draws: as lines of a size, and on a terminal of its own against the real control plane."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from support.workflows import World, chain, config_map, doomed, phase, seen_by, tell, waiting, workflow, write

from controller.cli._text import clean, columns, cut, pad, spoken
from controller.cli._tree import draw, plan_of
from controller.cluster.kinds import WORKFLOW
from controller.core.times import instant
from controller.local.plane import Plane

Document = dict[str, Any]

NOW = instant("2026-11-21T10:01:00Z")
BEGAN = "2026-11-21T10:00:00Z"


# the drawing


def seen(*steps: Document, states: dict[int, Document] | None = None, spec: Document | None = None, **status: Any) -> Document:
    """A workflow `shop/w` as it is read; ``states`` has what differs from pending, by number."""
    document = workflow("w", *steps, **(spec or {}))
    document["metadata"]["namespace"] = "shop"
    entries = [
        {"stepNumber": s["stepNumber"], "name": s["name"], "action": s["action"], "status": "pending"}
        | (states or {}).get(s["stepNumber"], {})
        for s in document["spec"]["workflowDefinition"]["steps"]
    ]
    done = sum(e["status"] == "completed" for e in entries)
    document["status"] = {
        "phase": "executing",
        "startTime": BEGAN,
        "completedSteps": done,
        "progress": 100 * done // len(entries),
        "stepStatuses": entries,
        **status,
    }
    return document


def drawn(document: Document, width: int = 100, height: int = 40, **more: Any) -> list[str]:
    return [line.text for line in draw(document, plan_of(document), size=(width, height), now=NOW, **more)]


def ended(status: str, **more: Any) -> Document:
    return {"status": status, "attempts": 1, "startTime": BEGAN, "endTime": "2026-11-21T10:00:05Z", **more}


def test_every_step_has_a_line_in_plan_order_with_its_state_its_time_and_what_it_comes_after() -> None:
    document = seen(
        tell(1, dependsOn=[3]),
        tell(2, dependsOn=[3]),
        tell(3),
        tell(4, dependsOn=[1, 2]),
        states={3: ended("completed"), 1: {"status": "executing", "attempts": 1, "startTime": "2026-11-21T10:00:55Z"}},
    )
    assert drawn(document) == [
        "shop/w  executing",
        "[██████░░░░░░░░░░░░░░░░░░░] 25 % · 1/4 steps · 1 executing · 1m00s",
        "  ✔ 3 s3     notify_only completed      5s",
        "┌ ▶ 1 s1     notify_only executing      5s",
        "└ · 2 s2     notify_only pending",
        "  · 4 s4     notify_only pending           after 1, 2",
    ]


def test_the_head_says_what_it_waits_for_and_what_would_help() -> None:
    lines = drawn(seen(tell(), waitingFor="suspended: the workflow is suspended", remedy="set spec.suspend to false"))
    assert lines[2:4] == ["… waits for suspended: the workflow is suspended", "→ set spec.suspend to false"]


def test_a_retry_says_which_try_it_is_and_when_it_comes() -> None:
    again = {"status": "pending", "attempts": 2, "retriesAttempted": 2, "nextRetryTime": "2026-11-21T10:01:08Z", "message": "no answer"}
    lines = drawn(seen(tell(1, maxRetries=3), states={1: again}))
    assert lines[-2].endswith("retry in      8s try 2 of 4")
    assert lines[-1] == "    └ no answer"


def test_what_failed_says_why_and_what_is_taken_back_is_shown_as_such() -> None:
    undoing = ended("completed", rollbackAttempts=1, rollbackRef={"name": "w-rollback-2"})
    document = seen(
        *chain(tell(1), tell(2), tell(3)),
        states={1: ended("rolled_back"), 2: undoing, 3: ended("failed", errorMessage="timed\x1b[2Jout\nfor good")},
        phase="rolling_back",
    )
    lines = drawn(document)
    assert [line.split()[:1] + line.split()[4:-1] for line in lines[2:5]] == [["↩", "rolled", "back"], ["↩", "being"], ["✘", "failed"]]
    assert lines[5] == "    └ timed?[2Jout for good"


def test_an_ended_workflow_says_how_and_why() -> None:
    document = seen(
        tell(), phase="failed", message="no right", failureReason="rbac_validation_failed", remedy="ask for it", completionTime=BEGAN
    )
    assert drawn(document)[2:5] == ["  no right", "  reason: rbac_validation_failed", "→ ask for it"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"spec": {"suspend": True}}, "suspended: nothing new starts"),
        ({"spec": {"simulate": True}}, "executing (simulated)"),
        ({"halting": {"action": "rollback", "message": "step 2 failed"}}, "then rollback: step 2 failed"),
    ],
)
def test_what_is_going_to_happen_is_told(more: Document, words: str) -> None:
    assert any(words in line for line in drawn(seen(tell(), **more)))


def test_wishes_and_a_connection_that_is_lost_are_told() -> None:
    document = seen(tell())
    document["metadata"] |= {"annotations": {"kubernaut.ai/cancel": "wrong cluster"}, "deletionTimestamp": BEGAN}
    told = "\n".join(drawn(document, trouble="no news: connection refused"))
    for words in ("asked to cancel: wrong cluster", "it is being deleted", "no news: connection refused"):
        assert words in told


def test_a_workflow_that_nobody_has_looked_at_or_whose_steps_run_in_a_circle_is_drawn_all_the_same() -> None:
    fresh = workflow("w", tell(1), tell(2))
    fresh["metadata"]["namespace"] = "shop"
    assert drawn(fresh)[0] == "shop/w  not looked at yet"
    assert len(drawn(fresh)) == 4
    circle = seen(tell(1, dependsOn=[2]), tell(2, dependsOn=[1]))
    assert plan_of(circle) is None
    assert len(drawn(circle)) == 4


def big() -> Document:
    """500 steps in batches of ten: 20 batches are done, in the next one three run, one failed, and one is tried again."""
    steps = [tell(n, dependsOn=[n - 10] if n > 10 else []) for n in range(1, 501)]
    states = {n: ended("completed") for n in range(1, 201)}
    states |= {n: {"status": "executing", "attempts": 1, "startTime": BEGAN} for n in (201, 204, 207)}
    states[203] = ended("failed", errorMessage="it broke")
    states[205] = {"status": "pending", "nextRetryTime": "2026-11-21T10:02:00Z", "message": "again"}
    return seen(*steps, states=states)


@pytest.mark.parametrize("size", [(200, 60), (80, 24), (40, 24), (80, 12), (40, 10), (20, 5), (1, 1)])
def test_500_steps_fit_any_screen(size: tuple[int, int]) -> None:
    lines = drawn(big(), *size)
    assert len(lines) <= size[1]
    assert all(columns(line) <= size[0] for line in lines)


@pytest.mark.parametrize("size", [(80, 24), (40, 16)])
def test_of_500_steps_those_that_run_failed_or_come_again_are_shown_and_the_others_counted(size: tuple[int, int]) -> None:
    lines = drawn(big(), *size)
    for number in (201, 203, 204, 205, 207):
        assert any(f" {number} s{number}" in line for line in lines), (number, lines)
    assert len(lines) >= size[1] - 1, "there is room for more steps"
    folded = sum(int(n) for line in lines if "… batch" in line for n in re.findall(r"(\d+) [a-z]", line.partition(":")[2]))
    shown = sum(bool(re.match(r"[ ┌│└] .* s\d+", line)) for line in lines)
    assert folded + shown == 500


def test_where_even_the_failures_do_not_fit_they_are_counted() -> None:
    steps = [tell(n) for n in range(1, 101)]
    lines = drawn(seen(*steps, states={n: ended("failed", errorMessage="it broke") for n in range(1, 101)}), 80, 12)
    assert len(lines) <= 12
    assert sum(int(n) for n in re.findall(r"(\d+) failed", "\n".join(lines[2:]))) + sum(" ✘ " in line for line in lines) == 100


def test_wide_characters_take_two_columns() -> None:
    assert (cut("日本語", 5), columns(pad("日本語", 5)), columns("e\u0301")) == ("日本…", 5, 1)


def test_text_of_others_cannot_steer_the_terminal() -> None:
    assert clean("a\x1b]0;title\x07b\r\nc") == "a?]0;title?b c"


@pytest.mark.parametrize(
    ("until", "words"),
    [("10:00:00", "0s"), ("09:59:00", "0s"), ("10:00:59.9", "59s"), ("10:02:05", "2m05s"), ("13:10:00", "3h10m")],
)
def test_times_are_told_no_finer_than_they_matter(until: str, words: str) -> None:
    assert spoken(datetime.fromisoformat(f"2026-11-21T{until}Z") - instant(BEGAN)) == words


# the real thing


@dataclass
class Terminal:
    """A command on a terminal of its own; ``told`` is every byte that it wrote."""

    process: subprocess.Popen[bytes]
    fd: int
    told: bytearray = field(default_factory=bytearray)

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    async def until(self, words: str, *, since: int = 0) -> int:
        """Read until it has written something, after position ``since``; answers where that ends."""
        async with asyncio.timeout(30):
            while (at := self.told.find(words.encode(), since)) < 0:
                assert await asyncio.to_thread(self._read), f"ended without {words!r}: {self.text()}"
        return at + len(words.encode())

    async def ended(self) -> int:
        async with asyncio.timeout(30):
            while await asyncio.to_thread(self._read):
                pass
            return await asyncio.to_thread(self.process.wait)

    def text(self) -> str:
        return self.told.decode(errors="replace")

    def _read(self) -> bool:
        try:
            more = os.read(self.fd, 65536)
        except OSError:
            return False
        self.told += more
        return bool(more)


@contextmanager
def terminal(plane: Plane, *words: str, size: tuple[int, int] = (100, 30), **environment: str) -> Iterator[Terminal]:
    """`phasegate` on a terminal of this size."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    kept = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "COLUMNS", "LINES"}}
    told = {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", "KUBECONFIG": str(plane.users["viewer"]), **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "controller", *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=kept | told,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)


ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"


def after(told: str) -> str:
    """What stays on the terminal afterwards."""
    assert told.count(ENTER) == told.count(LEAVE)
    return told.rpartition(LEAVE)[2]


async def test_a_terminal_shows_the_tree_in_place_and_keeps_its_last_picture(world: World, plane: Plane) -> None:
    await world.create(config_map())
    await world.create(workflow("w", *chain(write(1, "new"), waiting(2, timeout="1s")), tell(3)))
    with terminal(plane, "watch", "w", "-n", world.namespace) as seen:
        assert await seen.ended() == 1
        told = seen.text()
    picture = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", after(told)).splitlines()]
    assert picture[0] == f"{world.namespace}/w  rolled back"
    assert any(re.search(r"↩ 1 s1 +update_configmap +rolled back", line) for line in picture), picture
    assert any(re.search(r"✘ 2 s2 +wait_for_condition +failed", line) for line in picture), picture
    assert told.count("\x1b[H") > 1
    assert "\x1b[31m" in told


@pytest.mark.parametrize(
    ("environment", "is_bad"),
    [({"NO_COLOR": "1"}, "\x1b[3"), ({"PYTHONIOENCODING": "ascii"}, "▶"), ({"TERM": "dumb"}, "\x1b[")],
    ids=["no colour", "ascii", "dumb"],
)
async def test_a_terminal_that_can_do_less_is_asked_for_less(world: World, plane: Plane, environment: dict[str, str], is_bad: str) -> None:
    await world.create(workflow("w", doomed(1)))
    with terminal(plane, "watch", "w", "-n", world.namespace, **environment) as seen:
        assert await seen.ended() == 1
        told = seen.text()
    assert "s1" in told
    assert is_bad not in told
    assert "\ufffd" not in told


async def test_a_terminal_that_does_not_say_how_large_it_is_gets_a_usual_drawing(world: World, plane: Plane) -> None:
    await world.create(workflow("w", tell()))
    with terminal(plane, "watch", "w", "-n", world.namespace, size=(0, 0)) as seen:
        assert await seen.ended() == 0
        assert re.search(r"✔ 1 s1 +notify_only +completed", after(seen.text()))


async def test_another_size_of_the_terminal_is_another_drawing(world: World, plane: Plane) -> None:
    await world.create(workflow("w", *(tell(n, dependsOn=[1]) for n in range(2, 11)), waiting(1, timeout="1m")))
    await world.until(WORKFLOW, "w", lambda w: phase(w) == "executing")
    with terminal(plane, "watch", "w", "-n", world.namespace, size=(100, 40)) as seen:
        at = await seen.until("wait_for_condition")
        at = await seen.until("\x1b[J", since=at)
        seen.resize(40, 7)
        await seen.until("… batch", since=at)
        at = await seen.until("\x1b[J", since=at)
        drawing = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.told[at:].decode()) or ""
        assert all(columns(line) <= 40 for line in drawing.splitlines())


async def interrupted(world: World, plane: Plane, number: signal.Signals) -> tuple[int, str]:
    await world.create(workflow("w", waiting(1, timeout="1m")))
    with terminal(plane, "watch", "w", "-n", world.namespace) as seen:
        await seen.until("executing")
        os.killpg(seen.process.pid, number)
        code = await seen.ended()
        return code, seen.text()


async def test_ctrl_c_leaves_the_terminal_clean_and_the_last_picture_on_it(world: World, plane: Plane) -> None:
    code, told = await interrupted(world, plane, signal.SIGINT)
    assert code == 130
    assert "\x1b[?25h" in told
    assert f"{world.namespace}/w  executing" in after(told)
    assert "Traceback" not in told


async def test_a_kill_leaves_the_terminal_clean_too(world: World, plane: Plane) -> None:
    code, told = await interrupted(world, plane, signal.SIGTERM)
    assert code == -signal.SIGTERM
    assert told.rstrip().endswith(LEAVE)


async def test_ctrl_z_gives_the_terminal_back_until_it_goes_on(world: World, plane: Plane) -> None:
    await world.create(workflow("w", waiting(1, timeout="1m")))
    with terminal(plane, "watch", "w", "-n", world.namespace) as seen:
        at = await seen.until("executing")
        seen.process.send_signal(signal.SIGTSTP)
        at = await seen.until(LEAVE, since=at)
        await asyncio.to_thread(os.waitid, os.P_PID, seen.process.pid, os.WSTOPPED)
        seen.process.send_signal(signal.SIGCONT)
        await seen.until(ENTER, since=at)


async def test_a_workflow_that_is_deleted_while_it_is_drawn_ends_the_drawing_with_a_message(world: World, plane: Plane) -> None:
    await world.create(workflow("w", waiting(1, timeout="1m")))
    with terminal(plane, "watch", "w", "-n", world.namespace) as seen:
        await seen.until("executing")
        await world.cluster.delete(WORKFLOW, world.namespace, "w")
        assert await seen.ended() == 1
        assert after(seen.text()).rstrip().endswith(f"workflow {world.namespace}/w was deleted")


async def test_an_api_server_that_goes_away_for_a_while_is_told_and_waited_for(world: World, plane: Plane) -> None:
    await world.create(workflow("w", tell(), suspend=True))
    with terminal(plane, "watch", "w", "-n", world.namespace) as seen:
        at = await seen.until("suspended")
        plane.stop("kube-apiserver")
        try:
            at = await seen.until("! no news: ", since=at)
        finally:
            plane.start("kube-apiserver")
        # By a connection of its own: the former ones ended with the server.
        async with seen_by(plane.kubeconfig, world.namespace) as again:
            await again.patch(WORKFLOW, "w", {"spec": {"suspend": False}})
        assert await seen.ended() == 0, seen.text()[-1000:]
        assert "no news" not in after(seen.text())


async def test_text_lines_are_lines_on_a_terminal_too(world: World, plane: Plane) -> None:
    await world.create(workflow("w", tell()))
    with terminal(plane, "watch", "w", "-n", world.namespace, "--output", "text-lines") as seen:
        assert await seen.ended() == 0
        assert "\x1b" not in seen.text()
