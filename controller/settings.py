"""The settings of this program: a ConfigMap and the environment in, one frozen, bounded Settings out.

A bad value never stops anything and never counts: it is reported with its key, what would be allowed and what is in force
instead. The environment wins over the ConfigMap, but for the two lists that decide who may write (an environment is edited by
whoever may edit the Deployment; those lists have guards of their own).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from controller.core.durations import format_duration, parse_duration

SYSTEM_NAMESPACE = "kubernaut-system"
SETTINGS_CONFIG_MAP = "kubernaut-workflowexecution-config"
CONTROLLER_USER = f"system:serviceaccount:{SYSTEM_NAMESPACE}:workflow-controller"

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_WITHOUT_ENVIRONMENT = frozenset({"execution-creators", "policy-writers"})
_LONGEST_SHOWN = 80


def _read_duration(value: object) -> object:
    return parse_duration(value.strip()) if isinstance(value, str) else value


def _read_names(value: object) -> object:
    return tuple(dict.fromkeys(name for name in re.split(r"[\s,]+", value) if name)) if isinstance(value, str) else value


def _with_system_namespace(value: object) -> object:
    names = _read_names(value)
    if not isinstance(names, tuple):
        return names
    return names if SYSTEM_NAMESPACE in names else (SYSTEM_NAMESPACE, *names)


_Duration = Annotated[timedelta, BeforeValidator(_read_duration)]
_Subject = Annotated[str, Field(pattern=r"^[^\s,]+$", max_length=253)]
_Subjects = Annotated[tuple[_Subject, ...], BeforeValidator(_read_names), Field(min_length=1, max_length=50)]
_Namespace = Annotated[str, Field(pattern=f"^{_LABEL}$")]
_Namespaces = Annotated[tuple[_Namespace, ...], BeforeValidator(_with_system_namespace), Field(max_length=100)]
_Quantity = Annotated[str, Field(pattern=r"^[0-9]{1,12}(\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]


def _count(default: int, low: int, high: int) -> Any:  # noqa: ANN401 - what pydantic's Field returns
    return Field(default=default, ge=low, le=high, description=f"a whole number from {low} to {high}")


def _rate(default: int) -> Any:  # noqa: ANN401 - what pydantic's Field returns
    return Field(default=default, ge=0, le=10_000, description="a whole number from 1 to 10000, or 0 for off")


def _duration(default: str, low: str, high: str) -> Any:  # noqa: ANN401 - what pydantic's Field returns
    low_time, high_time = parse_duration(low), parse_duration(high)
    return Field(default=parse_duration(default), ge=low_time, le=high_time, description=f"a Go duration from {low} to {high}")


def _quantity(default: str) -> Any:  # noqa: ANN401 - what pydantic's Field returns
    return Field(default=default, description="a Kubernetes quantity such as 100m, 1 or 256Mi")


def _dashed(name: str) -> str:
    return name.replace("_", "-")


class Settings(BaseModel):
    """What is in force; the field's description is what may be written into the ConfigMap."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_parallel_steps: int = _count(5, 1, 100)
    complexity_approval_threshold: int = _count(10, 0, 500)
    kubernetes_qps: int = _rate(20)
    kubernetes_burst: int = _rate(30)
    cluster_name: str = Field(
        default="primary-cluster",
        pattern=r"^[a-zA-Z0-9]([-a-zA-Z0-9_.]{0,251}[a-zA-Z0-9])?$",
        description="a name of letters, digits, dashes, dots and underscores, at most 253 characters",
    )
    trusted_namespaces: _Namespaces = Field(
        default=(SYSTEM_NAMESPACE,), description="names of namespaces, separated by commas or white space"
    )
    execution_creators: _Subjects = Field(
        default=(CONTROLLER_USER,), description="one or more users or groups, separated by commas or white space"
    )
    policy_writers: _Subjects = Field(
        default=(CONTROLLER_USER, "system:masters"),
        description="one or more users or groups, separated by commas or white space",
    )
    allow_condition_loosening: bool = Field(default=False, description="true or false")
    alertmanager_url: str = Field(
        default="", pattern=r"^(https?://[^\s]+)?$", max_length=2048, description="an http or https URL, or empty"
    )
    monitoring_stability: _Duration = _duration("1m", "0s", "1h")
    retry_base_delay: _Duration = _duration("1s", "10ms", "1h")
    retry_max_delay: _Duration = _duration("1m", "10ms", "24h")
    approval_timeout: _Duration = _duration("24h", "1s", "720h")
    step_timeout: _Duration = _duration("5m", "1s", "24h")
    planning_timeout: _Duration = _duration("30s", "1s", "24h")
    validation_timeout: _Duration = _duration("5m", "1s", "24h")
    monitoring_timeout: _Duration = _duration("10m", "1s", "24h")
    rollback_step_timeout: _Duration = _duration("5m", "1s", "24h")
    child_creation_attempts: int = _count(5, 1, 20)
    job_namespace: _Namespace = Field(default=SYSTEM_NAMESPACE, description="the name of a namespace")
    job_cpu_request: _Quantity = _quantity("100m")
    job_cpu_limit: _Quantity = _quantity("500m")
    job_memory_request: _Quantity = _quantity("128Mi")
    job_memory_limit: _Quantity = _quantity("256Mi")

    def document(self) -> dict[str, Any]:
        """What policies see as ``data.kubernaut.settings``: the dashed keys, durations as Go strings, no credentials."""
        return self._plain() | {"alertmanager-url": _without_credentials(self.alertmanager_url)}

    def texts(self) -> dict[str, str]:
        """The same as the ConfigMap would say it."""
        return {key: _text(value) for key, value in self._plain().items()}

    def _plain(self) -> dict[str, Any]:
        return {_dashed(name): _plain(value) for name, value in self}


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """One refused value; ``message`` is a whole sentence for logs, Events and the ConfigMap's status."""

    key: str
    message: str


def parse_settings(
    configmap_data: Mapping[str, str], environ: Mapping[str, str], in_force: Settings | None = None
) -> tuple[Settings, list[SettingProblem]]:
    """The settings that these sources make, and what of them was refused.

    A refused value leaves the next source's: environment, then ConfigMap, then what is ``in_force`` (the defaults at first).
    A key that is absent everywhere means its default.
    """
    fallback = in_force or Settings()
    values: dict[str, Any] = {}
    problems: list[SettingProblem] = []
    known = {_dashed(name): name for name in Settings.model_fields}
    problems += [_unknown(key, known) for key in configmap_data if key not in known and not key.startswith("_")]
    for key, name in known.items():
        sources = [(f"setting {key}", configmap_data.get(key))]
        if key not in _WITHOUT_ENVIRONMENT:
            variable = name.upper()
            sources.insert(0, (f"environment variable {variable} (setting {key})", environ.get(variable)))
        refused: list[tuple[str, str]] = []
        for source, text in sources:
            if text is None:
                continue
            try:
                # One field at a time, so that one bad value is refused by itself.
                values[name] = getattr(Settings.model_validate({name: text.strip()}), name)
                break
            except ValidationError:
                refused.append((source, text))
        if refused and name not in values:
            values[name] = getattr(fallback, name)
        problems += [_refusal(key, name, source, text, values[name]) for source, text in refused]
    _keep_order(values, fallback, problems, "retry_base_delay", "retry_max_delay")
    return Settings(**values), problems


def _keep_order(values: dict[str, Any], fallback: Settings, problems: list[SettingProblem], low: str, high: str) -> None:
    """Refuse a pair whose lower bound is above its upper one, both of them."""
    defaults = Settings()
    if values.get(low, getattr(defaults, low)) <= values.get(high, getattr(defaults, high)):
        return
    values[low], values[high] = getattr(fallback, low), getattr(fallback, high)
    message = f"setting {_dashed(low)} is above {_dashed(high)}: it must not be; in force: {_shown(values[low])} and {_shown(values[high])}"
    problems.append(SettingProblem(_dashed(low), message))


def _refusal(key: str, name: str, source: str, text: str, used: object) -> SettingProblem:
    allowed = Settings.model_fields[name].description
    return SettingProblem(key, f"{source} is {text[:_LONGEST_SHOWN]!r}: it must be {allowed}; in force: {_shown(used)}")


def _unknown(key: str, known: Mapping[str, str]) -> SettingProblem:
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return SettingProblem(key, f"setting {key[:_LONGEST_SHOWN]!r} is not known and has no effect{hint}")


def _text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _plain(value: object) -> object:
    if isinstance(value, timedelta):
        return format_duration(value)
    return list(value) if isinstance(value, tuple) else value


def _shown(value: object) -> str:
    plain = _plain(value)
    if isinstance(plain, list):
        return ", ".join(plain)
    return str(plain).lower() if isinstance(plain, bool) else str(plain) or "(empty)"
