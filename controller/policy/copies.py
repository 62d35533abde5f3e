"""What survives a restart: the last good version of each source, gzipped, in a ConfigMap of our own.

They stand under the same admission guard as the policies themselves (deploy/base/admission/policies.yaml). A copy that cannot be read
keeps anything from being served until its source is mended or the copy deleted: a rule that once denied must not vanish in silence.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Mapping
from typing import Any

from controller.cluster.client import Cluster
from controller.cluster.errors import ApiError, NotFoundError
from controller.cluster.informer import Informer
from controller.cluster.kinds import CONFIG_MAP
from controller.observe import logs
from controller.policy.judging import Version, version
from controller.policy.loader import Remembered
from controller.policy.sources import GUARDED_LABEL, Module, PolicyProblem, Source
from controller.settings import SYSTEM_NAMESPACE, Settings, parse_settings

log = logs.events(__name__)

_COPY = "source"
_SETTINGS = "settings"
SOURCE_ANNOTATION = "kubernaut.ai/policy-source"
DIGEST_ANNOTATION = "kubernaut.ai/policy-source-digest"
_KEY = "source.json.gz"
_PREFIX = "kubernaut-last-good-"
_LONGEST_NAME = 253
_LONGEST_CONTENT = 16 << 20


def copy_name(source: str) -> str:
    """The name of the ConfigMap that keeps a source."""
    name = _PREFIX + source
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME - 13]}-{hashlib.sha256(source.encode()).hexdigest()[:12]}"


def write_copy(source: Source) -> dict[str, Any]:
    """The ConfigMap that keeps a source; the same source gives the same bytes."""
    content = {
        "created": source.created,
        "modules": {module.key: module.text for module in source.modules},
        "tests": {module.key: module.text for module in source.tests},
        "data": source.data,
    }
    packed = gzip.compress(json.dumps(content, sort_keys=True).encode(), mtime=0)
    return {
        "metadata": {
            "name": copy_name(source.name),
            "namespace": SYSTEM_NAMESPACE,
            "labels": {GUARDED_LABEL: _COPY, "app.kubernetes.io/part-of": "kubernaut"},
            "annotations": {SOURCE_ANNOTATION: source.name, DIGEST_ANNOTATION: source.digest},
        },
        "binaryData": {_KEY: base64.b64encode(packed).decode()},
    }


def read_copy(config_map: Mapping[str, Any]) -> Source:
    """The source that a ConfigMap keeps.

    Raises:
        ValueError: it keeps none, or not the one that it says.
    """
    annotations = config_map["metadata"].get("annotations") or {}
    name = annotations.get(SOURCE_ANNOTATION)
    if not name:
        raise ValueError(f"there is no annotation {SOURCE_ANNOTATION}")
    try:
        with gzip.open(io.BytesIO(base64.b64decode(config_map["binaryData"][_KEY]))) as packed:
            content = json.loads(packed.read(_LONGEST_CONTENT))
        source = Source(
            name,
            content["created"],
            tuple(Module(name, key, text) for key, text in content["modules"].items()),
            tuple(Module(name, key, text) for key, text in content["tests"].items()),
            content["data"],
        )
    except (KeyError, TypeError, AttributeError, OSError, EOFError, zlib.error) as exc:
        raise ValueError(f"{_KEY} is missing or damaged: {exc}") from exc
    if source.digest != annotations.get(DIGEST_ANNOTATION):
        raise ValueError(f"its content is not what {DIGEST_ANNOTATION} says")
    return source


class LastGoodCopies:
    """The copies in the cluster. ``informer`` holds the ConfigMaps of kubernaut-system."""

    def __init__(self, cluster: Cluster, informer: Informer) -> None:
        self._cluster = cluster
        self._informer = informer

    def read(self) -> Remembered:
        """What counted when it was last kept."""
        sources: dict[str, Source] = {}
        problems: dict[Version, list[PolicyProblem]] = {}
        for config_map in self._all(_COPY):
            name = config_map["metadata"]["name"]
            try:
                source = read_copy(config_map)
            except ValueError as exc:
                source = Source(kept_source(config_map), raw=f"a copy that cannot be read: {name}")
                remedy = f"apply {source.name} anew, or delete ConfigMap {name} to go on without it"
                problems[version(source)] = [PolicyProblem(name, _KEY, 0, 0, f"the last good copy cannot be read: {exc}", remedy)]
            sources[source.name] = source
        settings, _ = parse_settings(next((config_map.get("data") or {} for config_map in self._all(_SETTINGS)), {}), {})
        return Remembered(sources, problems, settings)

    async def keep_settings(self, settings: Settings) -> None:
        """Bring the copy of the settings to those in force.

        Raises:
            ApiError: it could not be written.
        """
        data = settings.texts()
        if [config_map.get("data") for config_map in self._all(_SETTINGS)] == [data]:
            return
        metadata = {"name": f"{_PREFIX}settings", "labels": {GUARDED_LABEL: _SETTINGS, "app.kubernetes.io/part-of": "kubernaut"}}
        await self._apply({"metadata": metadata, "data": data})

    async def add(self, sources: Mapping[str, Source]) -> None:
        """Keep these, too; where one cannot be written that is told, and another try comes with the next `keep`."""
        known = {kept_source(config_map): config_map for config_map in self._all(_COPY)}
        for name, source in sources.items():
            try:
                await self._keep_one(known.get(name), source)
            except ApiError as exc:
                log.warning("policy_copies_not_written", source=name, error=str(exc))

    async def keep(self, accepted: Mapping[str, Source]) -> None:
        """Bring the copies to what is accepted.

        Raises:
            ApiError: one could not be written; the others were.
        """
        failure: ApiError | None = None
        known = {kept_source(config_map): config_map for config_map in self._all(_COPY)}
        for name in sorted(known.keys() | accepted.keys()):
            try:
                await self._keep_one(known.get(name), accepted.get(name))
            except ApiError as exc:
                failure = exc
        if failure is not None:
            raise failure

    async def _keep_one(self, known: Mapping[str, Any] | None, source: Source | None) -> None:
        if source is None:
            if known is not None:
                try:
                    await self._cluster.delete(CONFIG_MAP, SYSTEM_NAMESPACE, known["metadata"]["name"])
                except NotFoundError:
                    log.info("policy_copy_gone", source=known["metadata"]["name"])
            return
        if known is not None and known["metadata"].get("annotations", {}).get(DIGEST_ANNOTATION) == source.digest:
            return
        await self._apply(write_copy(source))

    async def _apply(self, config_map: Mapping[str, Any]) -> None:
        document = {"apiVersion": CONFIG_MAP.api_version, "kind": CONFIG_MAP.kind, **config_map}
        name = document["metadata"]["name"]
        written = await self._cluster.patch(CONFIG_MAP, SYSTEM_NAMESPACE, name, document, patch_type="apply", force=True)
        self._informer.put(written)

    def _all(self, what: str) -> list[dict[str, Any]]:
        found = self._informer.all(SYSTEM_NAMESPACE)
        return [config_map for config_map in found if (config_map["metadata"].get("labels") or {}).get(GUARDED_LABEL) == what]


def kept_source(config_map: Mapping[str, Any]) -> str:
    """The name of the source that a ConfigMap keeps."""
    name: str = config_map["metadata"]["name"]
    annotations = config_map["metadata"].get("annotations") or {}
    return str(annotations.get(SOURCE_ANNOTATION) or name.removeprefix(_PREFIX))
