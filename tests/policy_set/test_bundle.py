"""The bundle is a function of the set."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import replace

from controller.policy.bundle import build_bundle, build_data
from controller.policy.sources import Module, PolicySet

ACTION = Module("kubernaut-policy-actions-x", "actions.x.rego", "package kubernaut.actions.x\n")
CONDITION = Module("team-a", "warm.rego", "package kubernaut.conditions.cache_warm\n")
SET = PolicySet((ACTION, CONDITION), {"team-a": {"cap": 3}}, {"max-parallel-steps": 5})


def test_the_same_set_gives_the_same_bytes_in_any_order() -> None:
    assert build_bundle(SET) == build_bundle(replace(SET, modules=(CONDITION, ACTION)))


def test_the_revision_changes_with_modules_data_and_settings() -> None:
    others = [
        replace(SET, modules=(ACTION,)),
        replace(SET, data={}),
        replace(SET, settings={"max-parallel-steps": 6}),
        replace(SET, modules=(replace(ACTION, text=ACTION.text + "#"), CONDITION)),
    ]
    assert len({build_bundle(s).revision for s in (SET, *others)}) == 5


def test_the_manifest_owns_the_root_and_names_the_revision() -> None:
    bundle = build_bundle(SET)
    with tarfile.open(fileobj=io.BytesIO(bundle.content)) as archive:
        assert archive.getnames() == [".manifest", "data.json", "kubernaut-policy-actions-x/actions.x.rego", "team-a/warm.rego"]
        manifest = archive.extractfile(".manifest")
        assert manifest is not None
        assert json.load(manifest) == {"revision": bundle.revision, "roots": ["kubernaut"], "rego_version": 1}
    assert len(bundle.revision) == 12


def test_data_holds_settings_digests_references_and_the_teams_data() -> None:
    assert build_data(SET) == {
        "settings": {"max-parallel-steps": 5},
        "modules": {"actions": {"x": hashlib.sha256(ACTION.text.encode()).hexdigest()}},
        "references": {"team-a:warm.rego": "cache_warm"},
        "teams": {"team-a": {"cap": 3}},
    }
