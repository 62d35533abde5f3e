"""ConfigMaps in YAML and JSON manifests, and where in the file each of their texts stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from controller.cli._exits import CommandError, Exit
from controller.policy.sources import PlainYaml, is_policy_source
from controller.settings import SETTINGS_CONFIG_MAP

# What PyYAML raises for a tag that does not fit its value (`!!int ""`, `!!bool "maybe"`, `!!timestamp "x"`), beside its own errors.
_BAD_YAML = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
NAMESPACE = "metadata.namespace"
"""Goes for the key of the namespace among the places; no policy has a key like that."""

_Manifest = tuple[yaml.MappingNode, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text stands on disk: after ``line`` lines and ``column`` columns of its file.

    ``exact`` is False where the text is quoted in a manifest, so that its lines are not lines of the file.
    """

    file: str
    line: int = 0
    column: int = 0
    exact: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """One ConfigMap and where its keys stand; the key "" is the ConfigMap itself. ``namespace`` is "" where it says none."""

    config_map: Mapping[str, Any]
    places: Mapping[str, Place]
    namespace: str = ""


def read_manifest(file: Path, text: str, *, alone: bool) -> list[Found] | None:
    """The policy ConfigMaps and the settings of a file of Kubernetes objects; None if it is none, and so a data file.

    Raises:
        CommandError: a ConfigMap of it is unusable; or, of a file that was named ``alone``, the YAML is.
    """
    documents: list[tuple[yaml.Node, Any]] = []
    try:
        loader = PlainYaml(text)
        while loader.check_node():
            if (node := loader.get_node()) is not None:
                documents.append((node, loader.construct_document(node)))
    except _BAD_YAML as exc:
        if alone:
            raise wrong(f"{file}: not plain YAML: {_why(exc)}") from exc
        # Of a folder it is a data file, and the loader says what is wrong with it.
        return None
    objects = [pair for node, document in documents if document is not None for pair in _objects(node, document)]
    manifests = [(node, document) for node, document in objects if isinstance(node, yaml.MappingNode) and _is_object(document)]
    return list(_config_maps(file, text, manifests)) if manifests and len(manifests) == len(objects) else None


def _objects(node: yaml.Node, document: Any) -> Iterable[tuple[yaml.Node, Any]]:  # noqa: ANN401 - whatever the file holds
    if _is_object(document) and str(document["kind"]).endswith("List") and isinstance(document.get("items"), list):
        items = _child(node, "items")
        if isinstance(items, yaml.SequenceNode):
            return zip(items.value, document["items"], strict=True)
    return [(node, document)]


def _is_object(document: object) -> bool:
    return isinstance(document, dict) and isinstance(document.get("apiVersion"), str) and isinstance(document.get("kind"), str)


def _config_maps(file: Path, text: str, manifests: Sequence[_Manifest]) -> Iterator[Found]:
    """Those objects that are policy or settings; what else is applied along with them is no concern of ours."""
    lines = text.split("\n")
    for node, document in manifests:
        metadata = document.get("metadata")
        if document["kind"] != "ConfigMap" or not isinstance(metadata, dict):
            continue
        labels, name = metadata.get("labels") or {}, metadata.get("name")
        known = {"metadata": {**metadata, "labels": labels if isinstance(labels, dict) else {}}}
        if name != SETTINGS_CONFIG_MAP and not is_policy_source(known):
            continue
        if not isinstance(name, str) or not name:
            raise wrong(f"{file}:{node.start_mark.line + 1}: a ConfigMap needs metadata.name")
        data, binary = (_texts(file, name, part, document.get(part)) for part in ("data", "binaryData"))
        created = str(metadata.get("creationTimestamp") or "")
        places = {"": Place(str(file), node.start_mark.line, exact=False)}
        places |= {str(key.value): _place(file, lines, value) for key, value in _pairs(_child(node, "data"))}
        if (written := _child(_child(node, "metadata"), "namespace")) is not None:
            places[NAMESPACE] = Place(str(file), written.start_mark.line, written.start_mark.column, exact=False)
        body = {"metadata": {"name": name, "labels": labels, "creationTimestamp": created}, "data": data, "binaryData": binary}
        yield Found(body, places, str(metadata.get("namespace") or ""))


def _texts(file: Path, name: str, part: str, written: Any) -> dict[str, str]:  # noqa: ANN401 - whatever the file holds
    """`data` or `binaryData` of a ConfigMap: names and texts, each of which UTF-8 can say."""
    if not isinstance(written or {}, dict):
        raise wrong(f"{file}: {name}: {part} is no object; write names and texts")
    texts: dict[str, str] = {}
    for key, value in (written or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise wrong(f"{file}: {name}: the value of {key} is no text; quote it")
        try:
            # JSON may write one character as two escapes, which YAML takes for two halves of characters.
            texts[key] = value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError as exc:
            raise wrong(f"{file}: {name}: the value of {key!r} has half a character (a lone surrogate)") from exc
    return texts


def _place(file: Path, lines: Sequence[str], value: yaml.Node) -> Place:
    start = value.start_mark.line
    if isinstance(value, yaml.ScalarNode) and value.style == "|":
        texts = str(value.value).split("\n")
        for offset, (written, text) in enumerate(zip(lines[start + 1 :], texts, strict=False)):
            if text.strip() and written.rstrip("\r").endswith(text):
                return Place(str(file), start + 1, len(written.rstrip("\r")) - len(texts[offset]))
    return Place(str(file), start, value.start_mark.column, exact=False)


def _pairs(node: yaml.Node | None) -> list[tuple[yaml.Node, yaml.Node]]:
    return list(node.value) if isinstance(node, yaml.MappingNode) else []


def _child(node: yaml.Node | None, name: str) -> yaml.Node | None:
    """The value of a key; the last one, as for whoever reads the document."""
    return next((value for key, value in reversed(_pairs(node)) if key.value == name), None)


def _why(exc: Exception) -> str:
    """What PyYAML says; of a value that its tag does not fit it says nothing useful."""
    return str(exc) if isinstance(exc, (yaml.YAMLError, RecursionError)) else f"a value does not fit its tag ({exc})"


def wrong(message: str) -> CommandError:
    """Input that cannot be judged at all."""
    return CommandError(message, Exit.USAGE)
