"""An audit store that holds the decision of every gate about its example question."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controller import paths
from controller.audit.records import decision_line, policy_set_line, read_record
from controller.audit.store import Store
from controller.core.times import instant
from controller.core.verdict import VERDICTS
from controller.gates.client import Decided
from controller.policy.check import Checker
from controller.policy.sources import GATES, combine, read_shipped

_NOW = "2026-11-21T10:00:00.000Z"
_ANSWERS = f"""{{gate: [question, verdict] |
    some gate, question in {{{", ".join(f'"{gate}": data.kubernaut.testing.questions.{gate}' for gate in sorted(GATES))}}}
    verdict := data.kubernaut.gates[gate].verdict with input as question
}}"""
_SETTINGS = "data.kubernaut.testing.questions.settings"


class Recorded:
    """Decisions of the shipped policies under the example settings, revision ``r1``; their ids are ``<gate>1``."""

    def __init__(self, opa: Path, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'audit.db'}"
        self._checker = Checker(opa, paths.SCHEMAS)
        self._settings: dict[str, Any] = self._ask(_SETTINGS, {})
        self.answers: dict[str, tuple[dict[str, Any], dict[str, Any]]] = self._ask(_ANSWERS, self._settings)
        store = Store(self.url)
        store.prepare()
        store.save([read_record(policy_set_line("r1", self._settings, instant(_NOW)))])
        store.close()
        for gate in self.answers:
            self.add(gate, f"{gate}1")

    def add(
        self,
        gate: str,
        decision_id: str,
        *,
        question: Mapping[str, Any] | None = None,
        verdict: Mapping[str, Any] | None = None,
        revision: str = "r1",
    ) -> None:
        """Record one more decision, with other values in its question or verdict."""
        asked = {**self.answers[gate][0], **(question or {})}
        now = asked.pop("now", _NOW)
        answer = VERDICTS[gate].model_validate({**self.answers[gate][1], **(verdict or {})})
        text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
        told = Decided(gate, text, now, revision, {}, None, fresh=False, decision_id=decision_id, input_digest="d", verdict=answer)
        store = Store(self.url)
        assert store.save([read_record(decision_line(told))]) == 0
        store.close()

    def _ask(self, query: str, settings: Mapping[str, Any]) -> Any:
        policy_set, problems = combine(read_shipped(paths.POLICIES), [], settings)
        value, more = asyncio.run(self._checker.ask(policy_set, query))
        assert not problems + more, problems + more
        return value
