"""Whether a policy set may decide: it compiles, its conventions hold, every gate answers, and the tests it brings pass.

Everything is asked of `opa` in throw-away processes (process.py) that see a temporary folder with the set and nothing else. What they
say comes back as PolicyProblems that name the source, the key, the line, the column and what would help.
"""

from __future__ import annotations

import asyncio
import json
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from controller.policy import remedies, suite
from controller.policy.bundle import Bundle, build_bundle
from controller.policy.conventions import Parsed, broken
from controller.policy.process import CheckUnavailableError, Ended, Limits, OpaProcess, OverLimitError
from controller.policy.sources import SET, Module, PolicyProblem, PolicySet, Source

_BUNDLE = "bundle.tar.gz"
_MOST_REASONS = 1000
_MOST_PROBLEMS = 20
_PARSING_AT_ONCE = 1
_TEST_CPU_SECONDS = 60
_PROBE_TAKES_AT_MOST = "2s"
_PROBE_CPU_SECONDS = 5
_TEST_TAKES_AT_MOST = "30s"
# What every gate says to the empty question: its decision and how many reasons; a gate without an answer is missing here.
_PROBE = """{gate: [object.get(verdict, "decision", ""), count(object.get(verdict, "reasons", []))] |
    some gate
    verdict := data.kubernaut.gates[gate].verdict
}"""
_DECISIONS = frozenset({"allow", "wait", "deny"})


class Checker:
    """Judges policy sets with the given `opa` program; ``schemas`` types the gates' inputs, where it exists.

    Args:
        opa: the program.
        schemas: folder of JSON Schemas; None leaves inputs untyped.
        strict: a `not` that can be undefined is an error.
        limits: what one process may use.
    """

    def __init__(self, opa: Path, schemas: Path | None = None, *, strict: bool = False, limits: Limits | None = None) -> None:
        self._opa = OpaProcess(opa, limits)
        self._schemas = schemas if schemas is not None and schemas.is_dir() else None
        self._strict = strict
        self._capabilities: str | None = None
        self._parsing = asyncio.Semaphore(_PARSING_AT_ONCE)

    async def compile(self, policy_set: PolicySet, bundle: Bundle | None = None) -> list[PolicyProblem]:
        """What the strict compiler says of the whole set, and whether every gate has an answer to an empty question.

        Args:
            policy_set: what is judged.
            bundle: the bundle of it, if there is one already.

        Raises:
            CheckUnavailableError: it could not be found out.
        """
        gates = {name for m in policy_set.modules if (name := m.package.removeprefix("kubernaut.gates.")) != m.package and "." not in name}
        answers, problems = await self.ask(policy_set, _PROBE, bundle)
        return problems or list(_unanswered(gates, answers or {}, policy_set))

    async def ask(self, policy_set: PolicySet, query: str, bundle: Bundle | None = None) -> tuple[Any, list[PolicyProblem]]:
        """What the set answers to a query (None for nothing), and what keeps it from an answer.

        Raises:
            CheckUnavailableError: it could not be found out.
        """
        with _folder(bundle or build_bundle(policy_set)) as folder:
            arguments = ["eval", "--strict", "--format", "json", "--bundle", _BUNDLE, *await self._bounds(folder), query]
            try:
                ended = await self._opa.run([*arguments, "--timeout", _PROBE_TAKES_AT_MOST], folder)
            except OverLimitError as exc:
                return None, [PolicyProblem(SET, "", 0, 0, str(exc), remedies.TOO_MUCH)]
            document = _document(ended)
            if _was_cut_short(document) and (whole := await self._take_its_time(arguments, folder)) is not None:
                # The first run goes by the clock on the wall, which runs on a busy machine, too; where it is right, it names the place.
                ended, document = whole, _document(whole)
        errors = document.get("errors") or []
        if errors:
            # A file that cannot be parsed keeps the bundle from being loaded, and is told of in words only.
            said = [one for error in errors for one in (list(remedies.errors_in_text(str(error.get("message", "")))) or [error])]
            return None, [_problem(error, policy_set) for error in said[:_MOST_PROBLEMS]]
        if ended.code != 0:
            raise CheckUnavailableError(f"opa eval ended with {ended.code}: {ended.err.decode(errors='replace')[:500]}")
        return document["result"][0]["expressions"][0]["value"] if document.get("result") else None, []

    async def _take_its_time(self, arguments: list[str], folder: Path) -> Ended | None:
        """Run it once more, by the processor's time; None where that is not enough either.

        Raises:
            CheckUnavailableError: it could have ended: it is the machine that takes its time.
        """
        try:
            return await self._opa.within(_PROBE_CPU_SECONDS).run(arguments, folder)
        except OverLimitError:
            return None

    async def conventions(self, source: Source) -> list[PolicyProblem]:
        """What is wrong with the rules of one source, warnings included.

        Raises:
            CheckUnavailableError: it could not be found out.
        """
        parsed = await asyncio.gather(*(self.parse(module) for module in source.modules))
        problems = [problem for one in parsed if isinstance(one, list) for problem in one]
        return problems or broken((one for one in parsed if isinstance(one, Parsed)), strict=self._strict)

    async def test(self, policy_set: PolicySet, tests: Collection[Module]) -> list[PolicyProblem]:
        """Which of these tests fail under the set.

        Args:
            policy_set: what is tested.
            tests: the test modules.

        Raises:
            CheckUnavailableError: it could not be found out.
        """
        return (await self.run_tests(policy_set, tests)).problems[:_MOST_PROBLEMS]

    async def run_tests(self, policy_set: PolicySet, tests: Collection[Module], *, only: str = "") -> suite.TestRun:
        """The same with all that is known of each test; ``only`` is a pattern for `package.name`.

        Raises:
            CheckUnavailableError: it could not be found out.
        """
        if not tests:
            return suite.TestRun()
        with _folder(_with_tests(policy_set, tests)) as folder:
            arguments = ["test", "--format", "json", "--timeout", _TEST_TAKES_AT_MOST, *await self._bounds(folder)]
            arguments += ["--run", only] if only else []
            try:
                ended = await self._opa.within(_TEST_CPU_SECONDS).run([*arguments, "--bundle", _BUNDLE], folder)
            except OverLimitError as exc:
                return suite.TestRun(problems=[PolicyProblem(SET, "", 0, 0, f"the tests: {exc}", remedies.TOO_MUCH)])
        document = _document(ended)
        if isinstance(document, Mapping):
            if errors := document.get("errors"):
                return suite.TestRun(problems=[_problem(error, policy_set, tests) for error in errors[:_MOST_PROBLEMS]])
            raise CheckUnavailableError(f"opa test ended with {ended.code}: {ended.err.decode(errors='replace')[:500]}")
        ours = {module.path for module in tests}
        results = [suite.tested(result) for result in document if _path(result.get("location") or {}) in ours]
        return suite.TestRun(results, [result.problem for result in results if result.problem is not None])

    async def coverage(self, policy_set: PolicySet, tests: Collection[Module]) -> dict[str, suite.Coverage]:
        """Path of a module → what these tests, which pass, reach of it; a module without anything to reach is left out.

        Raises:
            OverLimitError: measuring takes more than it may.
            CheckUnavailableError: it could not be found out.
        """
        with _folder(_with_tests(policy_set, tests)) as folder:
            # With a bundle, opa counts some of its files under two names.
            with tarfile.open(folder / _BUNDLE) as bundle:
                bundle.extractall(folder / "set", filter="data")
            # Counting is slow: what passes within its time without may not with it.
            arguments = ["test", "--coverage", "--format", "json", "--timeout", f"{_TEST_CPU_SECONDS}s", *await self._bounds(folder)]
            ended = await self._opa.within(_TEST_CPU_SECONDS).run([*arguments, "set"], folder)
        files = _document(ended).get("files")
        if files is None:
            said = (ended.err or ended.out).decode(errors="replace")[:500]
            raise CheckUnavailableError(f"opa test --coverage ended with {ended.code}: {said}")
        return {file.removeprefix("set/"): suite.coverage(found) for file, found in files.items()}

    async def parse(self, module: Module) -> Parsed | list[PolicyProblem]:
        """The AST of a module, or why it has none.

        Raises:
            CheckUnavailableError: it could not be found out.
        """
        with tempfile.TemporaryDirectory(prefix="phasegate-parse-") as name:
            folder = Path(name)
            (folder / "module.rego").write_text(module.text, encoding="utf-8")
            arguments = ["parse", "--format", "json", "--json-include", "locations,-comments", "module.rego"]
            async with self._parsing:
                try:
                    ended = await self._opa.run(arguments, folder)
                except OverLimitError as exc:
                    return [PolicyProblem(module.source, module.key, 0, 0, str(exc), remedies.TOO_LONG)]
        document = await asyncio.to_thread(_document, ended)
        if errors := document.get("errors"):
            return [_problem(error, None, place=module) for error in errors[:_MOST_PROBLEMS]]
        if "package" not in document:
            raise CheckUnavailableError(f"opa parse ended with {ended.code}: {ended.err.decode(errors='replace')[:500]}")
        package = ".".join(str(part["value"]) for part in document["package"]["path"][1:])
        if package != module.package:
            # Everything else goes by the line that a person reads, so it has to be the one that OPA reads.
            message = f"the package is {package}, which the first line that begins with `package` does not say"
            return [
                PolicyProblem(module.source, module.key, 1, 1, message, "write `package` and the name on one line, before everything else")
            ]
        return Parsed(module, document)

    async def _bounds(self, folder: Path) -> list[str]:
        """The arguments that bound what policies may call and say what inputs look like."""
        (folder / "capabilities.json").write_text(await self._allowed_capabilities(), encoding="utf-8")
        arguments = ["--capabilities", "capabilities.json"]
        return arguments if self._schemas is None else [*arguments, "--schema", str(self._schemas.resolve())]

    async def _allowed_capabilities(self) -> str:
        """OPA's own capabilities without what reads a clock, a network, chance or the process."""
        if self._capabilities is None:
            try:
                ended = await self._opa.run(["capabilities", "--current"], Path(tempfile.gettempdir()))
            except OverLimitError as exc:
                raise CheckUnavailableError(f"the limits of a check are too low for opa itself: {exc}") from exc
            if ended.code != 0:
                raise CheckUnavailableError(f"opa capabilities ended with {ended.code}: {ended.err.decode(errors='replace')[:500]}")
            try:
                document: dict[str, Any] = json.loads(ended.out)
                document["builtins"] = [builtin for builtin in document["builtins"] if remedies.is_allowed(builtin["name"])]
            except (ValueError, LookupError, TypeError) as exc:
                raise CheckUnavailableError("opa capabilities did not answer as opa does; name the opa program with --opa-binary") from exc
            document["allow_net"] = []
            self._capabilities = json.dumps(document)
        return self._capabilities


@contextmanager
def _folder(bundle: Bundle) -> Iterator[Path]:
    """A temporary folder with the very bundle that OPA would be given."""
    with tempfile.TemporaryDirectory(prefix="phasegate-check-") as name:
        folder = Path(name)
        (folder / _BUNDLE).write_bytes(bundle.content)
        yield folder


def _with_tests(policy_set: PolicySet, tests: Iterable[Module]) -> Bundle:
    return build_bundle(replace(policy_set, modules=(*policy_set.modules, *tests)))


def _was_cut_short(document: Any) -> bool:  # noqa: ANN401 - a JSON document
    return any(error.get("code") == "eval_cancel_error" for error in document.get("errors") or [])


def _document(ended: Ended) -> Any:  # noqa: ANN401 - a JSON document; its shape depends on the command
    for said in (ended.out, ended.err):
        try:
            document = json.loads(said)
        except ValueError:
            continue
        if document is not None:
            return document
    # `opa test` says compile errors in plain text only.
    return {"errors": list(remedies.errors_in_text(ended.err.decode(errors="replace")))}


def _unanswered(gates: Collection[str], answers: Mapping[str, Any], policy_set: PolicySet) -> Iterator[PolicyProblem]:
    modules = {module.package: module for module in policy_set.modules}
    for gate in sorted(gates):
        module = modules[f"kubernaut.gates.{gate}"]
        decision, reasons = answers.get(gate, ("", 0))
        if not isinstance(decision, str) or decision not in _DECISIONS:
            said = f"the verdict of gate {gate} for an empty question has no decision"
            yield PolicyProblem(module.source, module.key, 0, 0, said, 'give it a `default verdict := {"decision": "deny", …}`')
        elif reasons > _MOST_REASONS:
            said = f"gate {gate} gives {reasons} reasons for an empty question; {_MOST_REASONS} are the most"
            yield PolicyProblem(SET, "", 0, 0, said, "let a rule give one reason for what it found, not one for each finding")


def _problem(
    error: Mapping[str, Any], policy_set: PolicySet | None, tests: Iterable[Module] = (), *, place: Module | None = None
) -> PolicyProblem:
    """What OPA says, at the place where a person would look: the one that is not shipped."""
    message = str(error.get("message", "unknown error"))
    remedy = remedies.remedy(error)
    places = [error.get("location") or {}, *(frame.get("location") or {} for frame in error.get("stack_trace") or [])]
    known = {module.path: module for module in (*(policy_set.modules if policy_set else ()), *tests)}
    named = [(known[file], at) for at in places if (file := _path(at)) in known]
    if place is not None:
        named = [(place, places[0])]
    if not named:
        return PolicyProblem(SET, "", 0, 0, message, remedy)
    shipped = policy_set.shipped if policy_set else frozenset()
    module, at = next(((module, at) for module, at in named if module.path not in shipped), named[0])
    return PolicyProblem(module.source, module.key, at.get("row", 0), at.get("col", 0), message, remedy)


def _path(location: Mapping[str, Any]) -> str:
    return str(location.get("file", ""))
