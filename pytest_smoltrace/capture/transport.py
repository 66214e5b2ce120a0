"""What leaves for the network: each HTTP request of a call is counted, late ones are refused."""

from __future__ import annotations

import functools
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pytest_smoltrace.capture.limits import Limits
    from pytest_smoltrace.capture.llm_call import LLMCallInProgress

_LIBRARIES = ("httpx", "httpx2")
"""Names under which the client of openai, huggingface_hub and litellm is installed."""
_TIMEOUTS = ("connect", "read", "write", "pool")
_ABOUT_MODELS = "/api/show"
"""Path at which litellm asks Ollama about a model, as often as it likes."""
OVERLOADED = (429, 503, 529)
"""HTTP statuses of a server that asks to be called again later."""


class Calls(Protocol):
    """Where the hooks get the call that a request belongs to."""

    def active(self) -> LLMCallInProgress | None:
        """Return the call that this thread of control is in."""


class TransportHooks:
    """The hooks of one session."""

    def __init__(self, calls: Calls, limits: Limits) -> None:
        self._calls = calls
        self._limits = limits
        self._installed: list[tuple[Any, Any, Any]] = []
        self._pending = list(_LIBRARIES)

    def install(self) -> None:
        """Hook the clients of every library that has been imported by now."""
        for name in [one for one in self._pending if one in sys.modules]:
            library = sys.modules[name]
            clients = (getattr(library, "Client", None), getattr(library, "AsyncClient", None))
            if None in clients:  # still being imported
                continue
            self._pending.remove(name)
            for client, hook in zip(clients, (self._hook, self._async_hook), strict=True):
                original = client.send  # type: ignore[union-attr]
                hooked = hook(original)
                client.send = hooked  # type: ignore[union-attr]
                self._installed.append((client, original, hooked))

    def uninstall(self) -> None:
        """Put the original methods back, where nobody has replaced ours since."""
        for client, original, hooked in reversed(self._installed):
            if client.send is hooked:
                client.send = original
        self._installed.clear()
        self._pending = list(_LIBRARIES)

    def _hook(self, original: Any) -> Any:
        @functools.wraps(original)
        def send(client: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            call = self._sending(request)
            if call is None:
                return original(client, request, *args, **kwargs)
            sent = _Sent(call, request)
            try:
                response = original(client, request, *args, **kwargs)
            except Exception:
                sent.note()  # a client that retries counts a refused connection as a request
                raise
            sent.note()
            return _answered(call, response)

        return send

    def _async_hook(self, original: Any) -> Any:
        @functools.wraps(original)
        async def send(client: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            call = self._sending(request, in_loop=True)
            if call is None:
                return await original(client, request, *args, **kwargs)
            call.traffic.request(str(request.url))
            return _answered(call, await original(client, request, *args, **kwargs))

        return send

    def _sending(self, request: Any, *, in_loop: bool = False) -> LLMCallInProgress | None:
        call = self._calls.active()
        # A client also asks where a model is served; only what carries a prompt is a request.
        about = request.method != "POST" or request.url.path.endswith(_ABOUT_MODELS)
        if call is None or about:
            self._limits.check()
            return None
        # The first one was admitted with its call, unless a limit has ended that meanwhile.
        if call.traffic.requests or call.ended:
            self._limits.check()
        call.clock.start()
        if in_loop or not _is_main_thread():
            # No signal reaches another thread while it waits for the head of the response.
            self._shorten(call, request)
        return call

    def _shorten(self, call: LLMCallInProgress, request: Any) -> None:
        """Let the client itself end a request that a limit around it will not outlast."""
        due, left_s = call.traffic.due, self._limits.left_s()
        ends = [left_s] if left_s is not None else []
        ends += [max(due - time.monotonic(), 0.0)] if due is not None else []
        if ends:
            own, left_s = request.extensions.get("timeout") or {}, max(min(ends), 0.001)
            request.extensions["timeout"] = {n: _shorter(own.get(n), left_s) for n in _TIMEOUTS}


class _Sent:
    """Counts a request when its first byte leaves: an interrupt may come before that."""

    def __init__(self, call: LLMCallInProgress, request: Any) -> None:
        self._call = call
        self._url = str(request.url)
        self._noted = False
        self._own_trace = request.extensions.get("trace")
        request.extensions["trace"] = self._trace

    def note(self) -> None:
        """Count the request, once."""
        if not self._noted:
            self._noted = True
            self._call.traffic.request(self._url)

    def _trace(self, event: str, info: Any) -> None:
        """Take what httpcore tells of a request (its extension `trace`)."""
        if event.endswith("send_request_headers.started"):
            self.note()
        if self._own_trace is not None:
            self._own_trace(event, info)


def _shorter(own_s: float | None, left_s: float) -> float:
    return left_s if own_s is None else min(own_s, left_s)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _answered(call: LLMCallInProgress, response: Any) -> Any:
    call.traffic.response(response)
    if call.traffic.retried_above and response.status_code in OVERLOADED:
        # The openai and anthropic clients leave the next attempt to us then.
        response.headers["x-should-retry"] = "false"
    return response
