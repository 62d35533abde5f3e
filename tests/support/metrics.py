"""What a controller exposes at `/metrics`, as a Prometheus reads it."""

from __future__ import annotations

from http import HTTPStatus

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from controller.local.api import Api
from controller.local.plane import Plane


def scrape(plane: Plane, token: str | None = None) -> str:
    """One scrape; it needs a ``token`` unless the controller runs with `--metrics-open`."""
    answer = Api(f"http://{plane.metrics}", token).get("/metrics")
    assert answer.status == HTTPStatus.OK, answer.body
    return answer.body.decode()


def samples(plane: Plane, *names: str, token: str | None = None, **labels: str) -> list[Sample]:
    """Those with one of these names and all of these labels; of all names if none is given."""
    found = (sample for family in text_string_to_metric_families(scrape(plane, token)) for sample in family.samples)
    return [s for s in found if (not names or s.name in names) and labels.items() <= s.labels.items()]


def total(plane: Plane, name: str, *, token: str | None = None, **labels: str) -> float:
    """The sum of the samples of this name that have these labels."""
    return sum(sample.value for sample in samples(plane, name, token=token, **labels))
