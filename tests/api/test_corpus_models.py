"""One corpus of examples, judged by the models. tests/integration/test_crds.py has the API server judge the same files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from controller.api.common import faults
from controller.api.crd import MODELS

CORPUS = Path(__file__).parents[1] / "data" / "corpus"
GOOD = sorted((CORPUS / "good").glob("*.yaml"))
BAD = sorted((CORPUS / "bad").glob("*.yaml"))


def document(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_the_models_accept_a_good_example(path: Path) -> None:
    example = document(path)
    model = MODELS[example["apiVersion"], example["kind"]].model_validate(example)
    assert model.metadata.name == example["metadata"]["name"]


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_good_example_comes_out_of_the_models_as_it_went_in(path: Path) -> None:
    example = document(path)
    model = MODELS[example["apiVersion"], example["kind"]].model_validate(example)
    written = model.model_dump(by_alias=True, exclude_unset=True)
    assert written["spec"] == {key: value for key, value in example["spec"].items() if value is not None}


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_the_models_refuse_a_bad_example_and_say_what_is_wrong(path: Path) -> None:
    example = document(path)
    expected = path.read_text().splitlines()[0].removeprefix("# expect: ")
    with pytest.raises(ValidationError) as refusal:
        MODELS[example["apiVersion"], example["kind"]].model_validate(example)
    assert expected in "; ".join(faults(refusal.value))


def test_the_corpus_covers_every_kind_and_is_large_enough() -> None:
    assert {(document(path)["apiVersion"], document(path)["kind"]) for path in GOOD} == set(MODELS)
    assert len(GOOD) >= 12
    assert len(BAD) >= 30
