"""The cache never goes back in time."""

from __future__ import annotations

from typing import Any

import pytest

from controller.cluster.cache import ObjectCache, is_newer


def obj(version: int, *, name: str = "a", uid: str = "u1", **more: Any) -> dict[str, Any]:
    metadata = {"namespace": "ns", "name": name, "uid": uid, "resourceVersion": str(version), "managedFields": [{}]}
    return {"metadata": metadata, **more}


@pytest.mark.parametrize(
    ("version", "known", "newer"), [("10", "9", True), ("9", "10", False), ("9", "9", False), ("x", "y", True), ("x", "x", False)]
)
def test_versions_are_compared_as_integers(version: str, known: str, newer: bool) -> None:
    assert is_newer(version, known) is newer


def test_an_older_or_equal_object_is_skipped_and_nobody_hears_of_it() -> None:
    cache = ObjectCache()
    heard: list[tuple[Any, Any]] = []
    cache.subscribe(lambda old, new: heard.append((old, new)))
    assert cache.put(obj(10, x=1))
    assert not cache.put(obj(9, x=2))
    assert not cache.put(obj(10, x=3))
    assert cache.get("ns", "a") == {"metadata": {"namespace": "ns", "name": "a", "uid": "u1", "resourceVersion": "10"}, "x": 1}
    assert len(heard) == 1


def test_a_late_answer_does_not_resurrect_a_deleted_object() -> None:
    cache = ObjectCache()
    cache.put(obj(10))
    assert cache.remove(obj(12))
    assert not cache.put(obj(11))
    assert cache.get("ns", "a") is None


def test_a_deletion_that_is_older_than_a_recreated_object_is_skipped() -> None:
    cache = ObjectCache()
    cache.put(obj(20, uid="u2"))
    assert not cache.remove(obj(15, uid="u1"))
    assert cache.get("ns", "a") is not None


def test_a_deletion_heard_before_the_creation_keeps_it_out() -> None:
    cache = ObjectCache()
    assert not cache.remove(obj(12))
    assert not cache.put(obj(10))


def test_a_list_deletes_what_is_missing_from_it_but_not_what_is_newer_than_it() -> None:
    cache = ObjectCache()
    cache.put(obj(5, name="gone", uid="u1"))
    cache.put(obj(50, name="just-written", uid="u2"))
    cache.replace([obj(7, name="kept", uid="u3")], "40", None)
    assert {o["metadata"]["name"] for o in cache} == {"just-written", "kept"}


def test_a_list_of_one_namespace_leaves_the_others_alone() -> None:
    cache = ObjectCache()
    other = obj(5, name="other", uid="u9")
    other["metadata"]["namespace"] = "elsewhere"
    cache.put(other)
    cache.put(obj(5))
    cache.replace([], "40", "ns")
    assert [o["metadata"]["name"] for o in cache] == ["other"]


def test_an_object_moves_between_index_values_and_leaves_no_trace() -> None:
    cache = ObjectCache({"owner": lambda o: [o["owner"]]})
    cache.put(obj(1, owner="x"))
    cache.put(obj(2, owner="y"))
    assert cache.by_index("owner", "x") == []
    assert [o["owner"] for o in cache.by_index("owner", "y")] == ["y"]
    cache.remove(obj(3))
    assert cache.by_index("owner", "y") == []
    assert cache._indexes == {"owner": {}}


@pytest.mark.filterwarnings("ignore")
def test_an_object_that_an_indexer_or_a_subscriber_chokes_on_stops_nothing() -> None:
    cache = ObjectCache({"owner": lambda o: [o["owner"]]})
    heard: list[str] = []

    def choke(_: Any, __: Any) -> None:
        raise RuntimeError

    cache.subscribe(choke)
    cache.subscribe(lambda _, new: heard.append(new["metadata"]["name"]))
    cache.put(obj(1, name="poison", uid="u1"))
    cache.put(obj(2, name="fine", uid="u2", owner="x"))
    cache.replace([{"metadata": {}}, obj(3, name="third", uid="u3", owner="x")], "1", None)
    assert heard == ["poison", "fine", "third"]
    assert [o["metadata"]["name"] for o in cache.by_index("owner", "x")] == ["fine", "third"]
