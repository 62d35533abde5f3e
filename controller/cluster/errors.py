"""What the API server (or the way to it) can answer instead of success.

ApiError
├── NotFoundError        404
├── AlreadyExistsError   409, reason AlreadyExists
├── ConflictError        409, anything else: our copy was old                       (retryable)
├── GoneError            410: the resourceVersion or continue token has expired     (retryable)
├── ForbiddenError       401, 403                                                   (permanent)
├── InvalidError         400, 405, 413, 415, 422                                    (permanent)
├── ThrottledError       429: not carried out, try later                            (retryable)
├── UnreachableError     no connection: nothing was sent                            (retryable)
└── AmbiguousError       5xx, timeout, reset: it may or may not have been done      (retryable)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from typing_extensions import override

from controller.core.errors import ControllerError, PermanentError, RetryableError

LONGEST_MESSAGE = 512


@dataclass(frozen=True, slots=True)
class Attempted:
    """What was asked of the API server: the subject of every error message here."""

    verb: str
    kind: str
    namespace: str | None
    name: str | None
    as_user: str | None = None

    @override
    def __str__(self) -> str:
        """Verb, kind and name in one phrase; the impersonated user where there is one."""
        place = "/".join(part for part in (self.namespace, self.name) if part)
        return f"{self.verb} {self.kind}" + (f" {place}" if place else "") + (f" as {self.as_user}" if self.as_user else "")


class ApiError(ControllerError):
    """A request that was not answered by success; ``delay`` is how long the server wants to be left alone."""

    delay: timedelta | None = None

    def __init__(self, attempted: Attempted, *, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        self.attempted = attempted
        self.status = status
        self.reason = reason
        self.message = message[:LONGEST_MESSAGE]
        self.retry_after = retry_after
        super().__init__(f"{attempted}: {status or 'no answer'} {reason}: {self.message}")
        if retry_after is not None:
            self.delay = timedelta(seconds=retry_after)

    @property
    def verb(self) -> str:
        """The API verb that was attempted."""
        return self.attempted.verb

    @property
    def kind(self) -> str:
        """The kind it was attempted on."""
        return self.attempted.kind

    @property
    def namespace(self) -> str | None:
        """The namespace, if any."""
        return self.attempted.namespace

    @property
    def name(self) -> str | None:
        """The object's name; None for a collection."""
        return self.attempted.name


class NotFoundError(ApiError):
    """There is no such object (or no such kind: then ``reason`` is not NotFound)."""


class AlreadyExistsError(ApiError):
    """An object of that name is there already."""


class ConflictError(ApiError, RetryableError):
    """The resourceVersion or a precondition was outdated: read again, decide again."""


class GoneError(ApiError, RetryableError):
    """The history asked for is compacted: list again."""


class ForbiddenError(ApiError, PermanentError):
    """The identity lacks the right, or is not known."""


class InvalidError(ApiError, PermanentError):
    """The request itself is wrong, a failed JSON-patch ``test`` included."""


class ThrottledError(ApiError, RetryableError):
    """Not carried out; the server (or a PodDisruptionBudget) wants us to come back later."""


class UnreachableError(ApiError, RetryableError):
    """No connection came about, so nothing was sent."""


class AmbiguousError(ApiError, RetryableError):
    """Sent, but without a usable answer: look at the object before doing anything again."""


_BY_STATUS: Mapping[int, type[ApiError]] = {
    HTTPStatus.UNAUTHORIZED: ForbiddenError,
    HTTPStatus.FORBIDDEN: ForbiddenError,
    HTTPStatus.NOT_FOUND: NotFoundError,
    HTTPStatus.CONFLICT: ConflictError,
    HTTPStatus.GONE: GoneError,
    HTTPStatus.TOO_MANY_REQUESTS: ThrottledError,
    HTTPStatus.BAD_REQUEST: InvalidError,
    HTTPStatus.METHOD_NOT_ALLOWED: InvalidError,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: InvalidError,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: InvalidError,
    HTTPStatus.UNPROCESSABLE_ENTITY: InvalidError,
}


def error_from_answer(attempted: Attempted, status: int, body: bytes, retry_after: str | None = None) -> ApiError:
    """The error that a non-2xx answer means."""
    document = _status_document(body)
    details = document.get("details")
    seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    if seconds is None and retry_after is not None and retry_after.isdecimal():
        seconds = int(retry_after)
    reason = str(document.get("reason") or _phrase(status))
    message = str(document.get("message") or body.decode(errors="replace"))
    error: type[ApiError] = _BY_STATUS.get(status, ApiError)
    if status == HTTPStatus.CONFLICT and reason == "AlreadyExists":
        error = AlreadyExistsError
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        error = AmbiguousError
    if attempted.kind.partition("/")[0] == "Secret" and error in (InvalidError, AmbiguousError, ApiError):
        # Validation quotes the offending value, and the values of a Secret never leave this module.
        message = "details are withheld, because the object is a Secret"
    return error(attempted, status=status, reason=reason, message=message, retry_after=seconds)


def _status_document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
