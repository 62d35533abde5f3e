"""What an operation changes is told in words, from the request and its way back, and never a value of a Secret."""

from __future__ import annotations

from typing import Any

import pytest

from controller.core.changes import change_of
from controller.core.verdict import Operation


def operation(do: dict[str, Any], undo: dict[str, Any] | None = None, *, kind: str = "Deployment") -> Operation:
    place = {"apiVersion": "apps/v1" if kind == "Deployment" else "v1", "kind": kind, "namespace": "shop", "name": "web"}
    return Operation.model_validate({"do": {**place, **do}, "undo": {**place, **undo} if undo else None})


def replace(path: str, old: Any, new: Any) -> list[dict[str, Any]]:
    return [
        {"op": "test", "path": "/metadata/uid", "value": "u"},
        {"op": "test", "path": path, "value": old},
        {"op": "replace", "path": path, "value": new},
    ]


def test_a_patch_of_the_replicas_is_a_scale_with_the_number_before_and_after() -> None:
    change = change_of(operation({"verb": "patch", "patchType": "json", "body": replace("/spec/replicas", 2, 5)}))
    assert (change.type, change.before, change.after) == ("scale", {"/spec/replicas": "2"}, {"/spec/replicas": "5"})
    assert change.line() == "scale Deployment shop/web: /spec/replicas: 2 → 5"


def test_what_is_added_was_not_there_and_what_is_removed_is_not_there_afterwards() -> None:
    body = [
        {"op": "add", "path": "/metadata/labels/a", "value": "new"},
        {"op": "test", "path": "/metadata/labels/b", "value": "old"},
        {"op": "remove", "path": "/metadata/labels/b"},
    ]
    change = change_of(operation({"verb": "patch", "patchType": "json", "body": body}))
    assert (change.type, change.before, change.after) == ("update", {"/metadata/labels/b": "old"}, {"/metadata/labels/a": "new"})
    assert "/metadata/labels/a: (none) → new; /metadata/labels/b: old → (none)" in change.line()


def test_a_merge_patch_is_compared_with_its_way_back() -> None:
    do = {"verb": "patch", "patchType": "merge", "body": {"metadata": {"uid": "u", "resourceVersion": "7"}, "data": {"key": "new"}}}
    undo = {"verb": "patch", "patchType": "json", "body": replace("/data/key", "new", "old")}
    change = change_of(operation(do, undo, kind="ConfigMap"))
    assert (change.before, change.after) == ({"/data/key": "old"}, {"/data/key": "new"})


@pytest.mark.parametrize(("verb", "type_"), [("delete", "delete"), ("evict", "delete")])
def test_what_goes_has_no_values(verb: str, type_: str) -> None:
    change = change_of(operation({"verb": verb, "uid": "u"}, kind="Pod"))
    assert (change.type, change.before, change.after, change.line()) == (type_, {}, {}, "delete Pod shop/web")


def test_what_is_created_is_shown_without_what_is_its_name() -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "namespace": "shop"}, "data": {"a/b": "c"}}
    change = change_of(operation({"verb": "create", "body": body}, kind="ConfigMap"))
    assert (change.type, change.after) == ("create", {"/data/a~1b": "c"})


def test_no_value_of_a_secret_is_shown() -> None:
    body = replace("/data/password", "b2xk", "bmV3")
    change = change_of(operation({"verb": "patch", "patchType": "json", "body": body}, kind="Secret"))
    assert change.before.keys() == change.after.keys() == {"/data/password"}
    assert "bmV3" not in change.line()
    assert "b2xk" not in change.line()


def test_long_values_and_long_lists_are_cut() -> None:
    body = [{"op": "add", "path": f"/data/{n}", "value": "x" * 1000} for n in range(100)]
    change = change_of(operation({"verb": "patch", "patchType": "json", "body": body}, kind="ConfigMap"))
    assert len(change.after) == 32
    assert {len(value) for value in change.after.values()} == {256}
    assert change.line().endswith("and 29 more")
