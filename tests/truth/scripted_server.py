"""Scripted OpenAI-compatible server on loopback that serves a script and logs what it served.

All times are ``time.monotonic_ns()`` values; a chunk's time is read just before its bytes are
written, so a client never sees a chunk earlier than the log says.

Usage is served in the fields of OpenAI's API: ``prompt_tokens_details.cached_tokens``,
``prompt_tokens_details.cache_write_tokens`` and ``completion_tokens_details.reasoning_tokens``; a
details object is left out when none of its counts is scripted. ``Reply.extra_usage`` adds other
fields (such as ``cache_creation_input_tokens``) as they are.

As a process, ``python -m tests.truth.scripted_server --script FILE.json --log FILE.jsonl`` writes
``{"url": ...}`` on its first line and ends when its stdin closes.
"""

from __future__ import annotations

import argparse
import json
import re
import select
import socket
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Self, TypeVar

JsonObject = dict[str, Any]
Item = TypeVar("Item")
CASE_MARKER = re.compile(r"\[\[case:([^\]]+)\]\]")
LOG_WAIT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool call of a reply; without an id the server gives ``call_REQUEST_POSITION``."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the server answers to one request.

    A stream is cut into ``chunks`` pieces of reasoning, of content and of each tool call's
    arguments (fewer for a shorter text); each tool call starts with one more chunk that holds its
    id and name. Piece N leaves ``first_chunk_delay_s + N * between_chunks_s`` after the request
    was read; an unstreamed reply leaves when its last piece would. ``hang_s`` is silence before the
    status line and shifts all of it. ``drop`` closes the connection after half of the reply,
    ``close`` before its status line. ``stream_error`` is an event that ends a stream after half of
    its pieces; ``body`` replaces the body of an unstreamed reply.
    """

    content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    prompt_tokens: int = 10
    completion_tokens: int = 5
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    extra_usage: Mapping[str, Any] = field(default_factory=dict)
    usage: bool = True
    reasoning: str | None = None
    refusal: str | None = None
    finish_reason: str | None = None
    response_id: str | None = None
    model: str | None = None
    first_chunk_delay_s: float = 0.0
    between_chunks_s: float = 0.0
    chunks: int = 1
    empty_role_chunk: bool = True
    status: int = 200
    error_body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_s: float = 0.0
    drop: bool = False
    close: bool = False
    stream_error: Mapping[str, Any] | None = None
    body: Mapping[str, Any] | None = None


Turn = Reply | tuple[Reply, ...]
Select = Callable[[JsonObject], Reply | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the server really received and sent for one request.

    ``completed`` is false when the connection ended before the last byte. Token counts are None
    when no usage was sent, and so is a detail that was not scripted.
    """

    index: int
    method: str
    path: str
    received_ns: int
    body: JsonObject
    has_authorization: bool
    authorization: str | None = field(repr=False)
    stream: bool
    case: str | None
    turn: int | None
    status: int | None = None
    response_id: str | None = None
    model: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    chunk_kinds: tuple[str, ...] = ()
    chunk_ns: tuple[int, ...] = ()
    role_chunk_ns: int | None = None
    finish_chunk_ns: int | None = None
    usage_chunk_ns: int | None = None
    last_byte_ns: int | None = None
    completed: bool = False
    thread: str = ""

    def to_json(self) -> JsonObject:
        """Return the entry as JSON data without the value of the authorization header."""
        return {key: value for key, value in asdict(self).items() if key != "authorization"}


def text(content: str, **options: Any) -> Reply:
    """Return a reply of plain text."""
    return Reply(content=content, **options)


def tool_call(name: str, arguments: Mapping[str, Any], **options: Any) -> Reply:
    """Return a reply that calls one tool."""
    return Reply(tool_calls=(ToolCall(name=name, arguments=arguments),), **options)


def final_answer(answer: object, **options: Any) -> Reply:
    """Return a reply that calls smolagents' ``final_answer`` tool."""
    return tool_call("final_answer", {"answer": answer}, **options)


def code(source: str, thought: str = "Thought: run the code.", **options: Any) -> Reply:
    """Return a reply in the text form that smolagents' CodeAgent parses."""
    return text(f"{thought}\n<code>\n{source}\n</code>", **options)


class ScriptError(ValueError):
    """A script file that does not describe replies."""


class ClientGoneError(ConnectionError):
    """The client closed the connection while the server was waiting."""


class Script:
    """Select the reply of a request by order, by case marker and turn, or by a function."""

    def __init__(
        self,
        replies: Sequence[Reply] = (),
        cases: Mapping[str, Sequence[Turn]] | None = None,
        default: Reply | None = None,
        select: Select | None = None,
    ) -> None:
        self._replies = iter(tuple(replies))
        self._cases = dict(cases or {})
        self._default = default
        self._select = select
        self._attempts: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._lock = threading.Lock()

    def next(self, body: JsonObject) -> Reply:
        """Return the reply for a request body; a request outside the script gets an error."""
        with self._lock:
            chosen = self._select(body) if self._select else None
            chosen = chosen or self._case_reply(body) or next(self._replies, None)
        return chosen or self._default or _unscripted(body)

    def _case_reply(self, body: JsonObject) -> Reply | None:
        name, turn = case_of(body), turn_of(body)
        turns = self._cases.get(name, ()) if name else ()
        if name is None or turn >= len(turns):
            return None
        scripted = turns[turn]
        if isinstance(scripted, Reply):
            return scripted
        attempt = self._attempts[name, turn]
        self._attempts[name, turn] += 1
        return scripted[attempt % len(scripted)]


def case_of(body: JsonObject) -> str | None:
    """Return the name in the last ``[[case:NAME]]`` that is not in an assistant message."""
    for message in reversed(body.get("messages", [])):
        found = CASE_MARKER.findall(_message_text(message))
        if found and message.get("role") != "assistant":
            return str(found[-1])
    return None


def turn_of(body: JsonObject) -> int:
    """Return how many assistant messages the request holds."""
    return sum(message.get("role") == "assistant" for message in body.get("messages", []))


def _message_text(message: JsonObject) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content)


def _unscripted(body: JsonObject) -> Reply:
    message = f"no scripted reply for case {case_of(body)!r}, turn {turn_of(body)}"
    return Reply(status=400, error_body=error_json(message, "unscripted_request"))


def error_json(message: str, kind: str, code: str | None = None) -> JsonObject:
    """Return an error in the form of OpenAI's API."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def usage_json(reply: Reply) -> JsonObject:
    """Return the usage object that a reply scripts."""
    usage: JsonObject = {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
    }
    prompt = {"cached_tokens": reply.cached_tokens, "cache_write_tokens": reply.cache_write_tokens}
    details = {
        "prompt_tokens_details": _known(prompt),
        "completion_tokens_details": _known({"reasoning_tokens": reply.reasoning_tokens}),
    }
    return usage | {key: value for key, value in details.items() if value} | dict(reply.extra_usage)


def _known(counts: Mapping[str, int | None]) -> dict[str, int]:
    return {key: value for key, value in counts.items() if value is not None}


def cut(value: Sequence[Item], pieces: int) -> list[Sequence[Item]]:
    """Cut a sequence into at most ``pieces`` parts of nearly equal length, none empty."""
    count = max(1, min(pieces, len(value)))
    edges = [len(value) * number // count for number in range(count + 1)]
    return [value[start:end] for start, end in pairwise(edges)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One reply bound to the request that it answers."""

    reply: Reply
    index: int
    response_id: str
    model: str
    finish_reason: str

    def calls(self) -> list[JsonObject]:
        """Return the tool calls in wire form."""
        return [
            {
                "id": call.id or f"call_{self.index}_{position}",
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments))},
            }
            for position, call in enumerate(self.reply.tool_calls)
        ]

    def _envelope(self, kind: str) -> JsonObject:
        head = {"id": self.response_id, "object": kind, "created": int(time.time())}
        return head | {"model": self.model, "system_fingerprint": "scripted"}

    def whole(self) -> JsonObject:
        """Return the body of an unstreamed reply."""
        message: JsonObject = {"role": "assistant", "content": self.reply.content}
        if self.reply.reasoning is not None:
            message["reasoning_content"] = self.reply.reasoning
        if self.reply.refusal is not None:
            message["refusal"] = self.reply.refusal
        if self.reply.tool_calls:
            message["tool_calls"] = self.calls()
        choice = {"index": 0, "message": message, "logprobs": None}
        body = self._envelope("chat.completion")
        body["choices"] = [choice | {"finish_reason": self.finish_reason}]
        return body | ({"usage": usage_json(self.reply)} if self.reply.usage else {})

    def chunk(self, delta: JsonObject, finish_reason: str | None = None) -> JsonObject:
        """Return one streamed chunk with a single choice."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._envelope("chat.completion.chunk") | {"choices": [choice]}

    def usage_chunk(self) -> JsonObject:
        """Return the last chunk, which has usage and no choice."""
        usage = {"choices": [], "usage": usage_json(self.reply)}
        return self._envelope("chat.completion.chunk") | usage

    def deltas(self) -> Iterator[tuple[str, JsonObject]]:
        """Yield the kind and delta of every chunk that carries output."""
        if self.reply.reasoning:
            for piece in cut(self.reply.reasoning, self.reply.chunks):
                yield "reasoning", {"reasoning_content": piece}
        if self.reply.content:
            for piece in cut(self.reply.content, self.reply.chunks):
                yield "content", {"content": piece}
        for position, call in enumerate(self.calls()):
            function = call["function"]
            start = {"name": function["name"], "arguments": ""}
            yield "tool", {"tool_calls": [{"index": position} | call | {"function": start}]}
            for piece in cut(function["arguments"], self.reply.chunks):
                yield "tool", _arguments_delta(position, piece)


def _arguments_delta(position: int, piece: Sequence[str]) -> JsonObject:
    return {"tool_calls": [{"index": position, "function": {"arguments": piece}}]}


class ScriptedServer:
    """Serve a script on a port of 127.0.0.1 between ``__enter__`` and ``__exit__``.

    A request takes, in this order, what ``select`` returns for its body, the reply of its
    ``[[case:NAME]]`` at its turn (the number of assistant messages in the request), the next of
    ``replies``, ``default``, and otherwise a 400 error of type ``unscripted_request``. A case's
    turn may be a tuple of replies: the attempts of that turn, served in a circle. Port 0 is a
    free one.
    """

    def __init__(
        self,
        replies: Sequence[Reply] = (),
        *,
        cases: Mapping[str, Sequence[Turn]] | None = None,
        default: Reply | None = None,
        select: Select | None = None,
        log_file: IO[str] | None = None,
        port: int = 0,
    ) -> None:
        self.script = Script(replies, cases, default, select)
        self._log_file = log_file
        self._served: list[Served] = []
        self._started = 0
        self._changed = threading.Condition()
        self._http = _HttpServer(self, self.handler(), port)
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.02,), name="scripted-server", daemon=True
        )

    def handler(self) -> type[Handler]:
        """Return the class that speaks the server's protocol."""
        return Handler

    @property
    def root_url(self) -> str:
        """The server's address without a path."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def url(self) -> str:
        """The base url for an OpenAI client, which ends in ``/v1``."""
        return f"{self.root_url}/v1"

    @property
    def log(self) -> list[Served]:
        """The ended requests in order of arrival; waits up to 2 s for those in flight."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._served) == self._started, LOG_WAIT_S)
            return sorted(self._served, key=lambda served: served.index)

    @property
    def completions(self) -> list[Served]:
        """The entries of the log that are requests of a model's answer."""
        paths = self.handler().paths
        return [one for one in self.log if one.path.partition("?")[0].endswith(paths)]

    def begin(self) -> int:
        """Return the index of a request that arrives."""
        with self._changed:
            self._started += 1
            return self._started - 1

    def record(self, served: Served) -> None:
        """Add a request that has ended to the log."""
        with self._changed:
            self._served.append(served)
            if self._log_file is not None:
                self._log_file.write(json.dumps(served.to_json()) + "\n")
                self._log_file.flush()
            self._changed.notify_all()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, scripted: ScriptedServer, handler: type[Handler], port: int) -> None:
        self.scripted = scripted
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        for connection in tuple(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        super().server_close()


class Handler(BaseHTTPRequestHandler):
    """Speaks OpenAI's chat completions; a subclass speaks another protocol."""

    paths: tuple[str, ...] = ("/chat/completions",)
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _HttpServer

    def log_message(self, *_: object) -> None:
        """Keep standard error quiet."""

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        try:
            body = json.loads(self.rfile.read(size) or b"{}")
        except ValueError:
            body = {}
        self._answer(body)

    def _answer(self, body: JsonObject) -> None:
        received_ns = time.monotonic_ns()
        self._sent: JsonObject = {"chunk_ns": (), "chunk_kinds": ()}
        index = self.server.scripted.begin()
        try:
            self._dispatch(index, body, received_ns)
            self._sent["completed"] = not self._sent.pop("dropped", False)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        finally:
            self._sent.pop("dropped", None)
            self.server.scripted.record(self._entry(index, body, received_ns))

    def _entry(self, index: int, body: JsonObject, received_ns: int) -> Served:
        authorization = self.headers.get("Authorization")
        return Served(
            index=index,
            method=self.command,
            path=self.path,
            received_ns=received_ns,
            body=body,
            has_authorization=authorization is not None,
            authorization=authorization,
            stream=self.is_streamed(body),
            case=case_of(body),
            turn=turn_of(body) if "messages" in body else None,
            thread=threading.current_thread().name,
            **self._sent,
        )

    def _dispatch(self, index: int, body: JsonObject, received_ns: int) -> None:
        path = self.path.partition("?")[0].rstrip("/")
        if self.command == "POST" and path.endswith(self.paths):
            self._complete(index, body, received_ns)
        elif self.command == "GET" and path.endswith("/models"):
            model = {"id": "scripted", "object": "model", "created": 0, "owned_by": "scripted"}
            self._send_json(200, {"object": "list", "data": [model]})
        else:
            self._send_json(404, self.error(f"no such path: {path}", "invalid_request_error"))

    def is_streamed(self, body: JsonObject) -> bool:
        """Return whether the request asks for a stream."""
        return bool(body.get("stream"))

    def error(self, message: str, kind: str) -> JsonObject:
        """Return the body of an error."""
        return error_json(message, kind)

    def bind(self, reply: Reply, index: int, body: JsonObject) -> Completion:
        """Return the reply as the answer to this request."""
        return Completion(
            reply=reply,
            index=index,
            response_id=reply.response_id or f"chatcmpl-scripted-{index}",
            model=reply.model or str(body.get("model", "scripted")),
            finish_reason=reply.finish_reason or ("tool_calls" if reply.tool_calls else "stop"),
        )

    def _complete(self, index: int, body: JsonObject, received_ns: int) -> None:
        reply = self.server.scripted.script.next(body)
        start_ns = received_ns + int(reply.hang_s * 1e9)
        if reply.hang_s:
            self._wait_until(start_ns)
        if reply.close:
            self._drop()
            return
        if reply.status >= 400:
            self._wait_until(start_ns + int(reply.first_chunk_delay_s * 1e9))
            error = reply.error_body or self.error("scripted error", "scripted_error")
            self._send_json(reply.status, dict(error), reply)
            return
        completion = self.bind(reply, index, body)
        if self.is_streamed(body):
            options = body.get("stream_options") or {}
            self._stream(completion, start_ns, bool(options.get("include_usage")))
        else:
            self._whole(completion, start_ns)

    def _whole(self, completion: Completion, start_ns: int) -> None:
        reply = completion.reply
        pieces = max(1, sum(1 for _ in completion.deltas()))
        delay_s = reply.first_chunk_delay_s + (pieces - 1) * reply.between_chunks_s
        self._wait_until(start_ns + int(delay_s * 1e9))
        if not reply.drop:
            self._note_reply(completion)
        if reply.usage and not reply.drop:
            self._note_usage(reply)
        body = completion.whole() if reply.body is None else dict(reply.body)
        self._send_json(reply.status, body, reply)

    def _stream(self, completion: Completion, start_ns: int, include_usage: bool) -> None:
        reply = completion.reply
        self._start(reply.status, reply, {"Content-Type": "text/event-stream; charset=utf-8"})
        self._sent["response_id"], self._sent["model"] = completion.response_id, completion.model
        usage_null = {"usage": None} if include_usage and reply.usage else {}
        role = {"role": "assistant"}
        if reply.empty_role_chunk:
            opening = completion.chunk(role | {"content": ""}) | usage_null
            self._sent["role_chunk_ns"] = self._send_event(opening)
            role = {}
        deltas = list(completion.deltas())
        whole = not reply.drop and reply.stream_error is None
        served = deltas if whole else deltas[: len(deltas) // 2]
        for number, (kind, delta) in enumerate(served):
            delay_s = reply.first_chunk_delay_s + number * reply.between_chunks_s
            self._wait_until(start_ns + int(delay_s * 1e9))
            sent_ns = self._send_event(completion.chunk(role | delta) | usage_null)
            self._sent["chunk_ns"] += (sent_ns,)
            self._sent["chunk_kinds"] += (kind,)
            role = {}
        if reply.stream_error is not None:
            self._send_event(dict(reply.stream_error))
            self._sent["last_byte_ns"] = self._send_chunk(b"data: [DONE]\n\n", last=True)
            return
        if reply.drop:
            self._drop()
            return
        self._end_stream(completion, usage_null, include_usage)

    def _end_stream(
        self, completion: Completion, usage_null: JsonObject, include_usage: bool
    ) -> None:
        finish = completion.chunk({}, completion.finish_reason) | usage_null
        self._sent["finish_chunk_ns"] = self._send_event(finish)
        self._note_reply(completion)
        if completion.reply.usage and include_usage:
            self._sent["usage_chunk_ns"] = self._send_event(completion.usage_chunk())
            self._note_usage(completion.reply)
        self._sent["last_byte_ns"] = self._send_chunk(b"data: [DONE]\n\n", last=True)

    def _note_reply(self, completion: Completion) -> None:
        self._sent["response_id"], self._sent["model"] = completion.response_id, completion.model
        self._sent["finish_reason"] = completion.finish_reason

    def _note_usage(self, reply: Reply) -> None:
        names = ("prompt_tokens", "completion_tokens", "cached_tokens")
        for name in (*names, "cache_write_tokens", "reasoning_tokens"):
            self._sent[name] = getattr(reply, name)

    def _start(self, status: int, reply: Reply | None, headers: Mapping[str, str]) -> None:
        self._sent["status"] = status
        self.send_response(status)
        extra = reply.headers if reply else {}
        for name, value in {**headers, **extra}.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _send_json(self, status: int, body: JsonObject, reply: Reply | None = None) -> None:
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        self._start(status, reply, headers)
        drop = reply is not None and reply.drop
        self._sent["last_byte_ns"] = time.monotonic_ns()
        self.wfile.write(data[: len(data) // 2] if drop else data)
        if drop:
            self._drop()

    def _send_event(self, event: JsonObject) -> int:
        return self._send_chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

    def _send_chunk(self, data: bytes, last: bool = False) -> int:
        sent_ns = time.monotonic_ns()
        frame = f"{len(data):x}\r\n".encode() + data + b"\r\n"
        self.wfile.write(frame + (b"0\r\n\r\n" if last else b""))
        return sent_ns

    def _drop(self) -> None:
        self._sent["dropped"] = True
        self.close_connection = True

    def _wait_until(self, when_ns: int) -> None:
        remaining_s = (when_ns - time.monotonic_ns()) / 1e9
        if remaining_s <= 0:
            return
        readable, _, _ = select.select([self.connection], [], [], remaining_s)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise ClientGoneError
        time.sleep(max(0.0, (when_ns - time.monotonic_ns()) / 1e9))


def reply_from_json(data: Mapping[str, Any]) -> Reply:
    """Return the reply that a JSON object describes."""
    unknown = set(data) - {item.name for item in fields(Reply)}
    if unknown:
        raise ScriptError(f"unknown key in a reply: {', '.join(sorted(unknown))}")
    calls = tuple(ToolCall(**call) for call in data.get("tool_calls", ()))
    return Reply(**{**data, "tool_calls": calls})


def turn_from_json(data: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Turn:
    """Return the turn that a JSON object, or an array of attempts, describes."""
    if isinstance(data, Mapping):
        return reply_from_json(data)
    return tuple(reply_from_json(item) for item in data)


def script_json(
    replies: Sequence[Reply] = (),
    cases: Mapping[str, Sequence[Turn]] | None = None,
    default: Reply | None = None,
) -> str:
    """Return the text of a script file."""

    def data(turn: Turn) -> object:
        return asdict(turn) if isinstance(turn, Reply) else [asdict(reply) for reply in turn]

    named = {name: [data(turn) for turn in turns] for name, turns in (cases or {}).items()}
    script: JsonObject = {"replies": [asdict(reply) for reply in replies], "cases": named}
    return json.dumps(script | ({"default": asdict(default)} if default else {}))


def server_from_json(script: Mapping[str, Any], log_file: IO[str] | None = None) -> ScriptedServer:
    """Return a server of the script that a JSON object describes."""
    cases = script.get("cases", {})
    return ScriptedServer(
        [reply_from_json(item) for item in script.get("replies", ())],
        cases={name: [turn_from_json(turn) for turn in turns] for name, turns in cases.items()},
        default=reply_from_json(script["default"]) if script.get("default") else None,
        log_file=log_file,
    )


def main() -> None:
    """Serve a script file until standard input closes."""
    parser = argparse.ArgumentParser(prog="scripted_server")
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    arguments = parser.parse_args()
    script = json.loads(arguments.script.read_text(encoding="utf-8"))
    with (
        arguments.log.open("w", encoding="utf-8") as log_file,
        server_from_json(script, log_file) as server,
    ):
        sys.stdout.write(json.dumps({"url": server.url}) + "\n")
        sys.stdout.flush()
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
