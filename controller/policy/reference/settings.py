"""The page of the settings: keys, defaults, bounds, and which policies read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controller.policy.reference.markdown import NOTE, code, paragraph, table
from controller.policy.reference.reading import Module, dotted, walk
from controller.settings import SETTINGS_CONFIG_MAP, Settings

_PATH = "data.kubernaut.settings."


def render_settings(modules: Mapping[str, Module]) -> str:
    """The page of the settings."""
    read = [(module, set(_keys(module))) for module in modules.values()]
    rows = []
    for key, default in Settings().document().items():
        text = ", ".join(default) if isinstance(default, list) else str(default).lower() if isinstance(default, bool) else str(default)
        allowed = Settings.model_fields[key.replace("-", "_")].description or ""
        readers = [f"[{module.package.removeprefix('kubernaut.')}](../../{module.file})" for module, keys in read if key in keys]
        rows.append((code(key), code(text) or "empty", allowed, ", ".join(readers)))
    about = paragraph(
        f"Keys of the ConfigMap `{SETTINGS_CONFIG_MAP}`; policies see them as `data.kubernaut.settings`, durations as Go strings. An "
        "environment variable (capitals, underscores for dashes: `MAX_PARALLEL_STEPS`) wins over the ConfigMap, but for "
        "`execution-creators` and `policy-writers`. A value that is out of bounds is refused, and the one before it stays in force."
    )
    return f"{NOTE}# Settings\n\n{about}" + table(["key", "default", "must be", "read by"], rows)


def _keys(module: Module) -> Iterator[str]:
    for node in walk(list(module.rules.values())):
        if node.get("type") == "ref" and dotted(node).startswith(_PATH):
            yield dotted(node).removeprefix(_PATH)
        elif node.get("type") == "call" and dotted(node["value"][0]) == "clock.setting":
            yield str(node["value"][1]["value"])
