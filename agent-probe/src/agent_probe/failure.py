"""Tools that report a failure instead of raising one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Takes what a tool returned: falsy where all is well, else true or the error's message.
Failed = Callable[[Any], "bool | str | None"]

TOOL_FAILURE = "tool_failure"


def says_no_success(result: Any) -> bool | str | None:
    """The default: ``success`` is ``False``, in a map or as an attribute; ``error`` beside it is the message."""
    if isinstance(result, dict):
        success, error = result.get("success"), result.get("error")
    else:
        success, error = getattr(result, "success", None), getattr(result, "error", None)
    if success is not False:
        return None
    return str(error) if error else True
