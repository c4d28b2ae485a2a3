"""What a request can be refused for, as the OpenAI API says it."""

from collections.abc import Mapping
from typing import Any

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
"""The error's type by status; any other below 500 is an invalid request."""


class ApiError(Exception):
    """A refusal: an HTTP status, one line on what is wrong, the field and a code where known."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Return the JSON that clients of the OpenAI API expect."""
        kind = TYPES.get(self.status)
        kind = kind or ("invalid_request_error" if self.status < 500 else "server_error")
        message, param = (
            None if text is None else text.encode(errors="replace").decode()
            for text in (self.message, self.param)
        )  # a request may quote half a character at us
        return {"error": {"message": message, "type": kind, "param": param, "code": self.code}}


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """Return the refusal of a request that cannot be understood or done (400)."""
    return ApiError(400, message, param=param, code=code)


def stopping(message: str) -> ApiError:
    """Return the refusal of a server that is told to end (503)."""
    return ApiError(503, message, code="stopping", headers={"Retry-After": "5"})
