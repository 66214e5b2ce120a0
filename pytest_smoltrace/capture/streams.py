"""Streams of client libraries whose chunks are noted as they pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from pytest_smoltrace.capture.llm_call import LLMCallInProgress
    from pytest_smoltrace.capture.readers import Chat


class RawStream:
    """A client library's raw response whose parsed stream is noted as it passes."""

    def __init__(self, raw: Any, tee: Callable[[Any], Teed]) -> None:
        self._raw = raw
        self._tee = tee
        self._parsed: Any = None

    def parse(self, **kwargs: Any) -> Any:
        """Return the stream, as the library's own method does."""
        if self._parsed is None:
            self._parsed = self._tee(self._raw.parse(**kwargs))
        return self._parsed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


class Teed:
    """What both kinds of streams have in common."""

    def __init__(self, stream: Any, call: LLMCallInProgress, reader: Chat, *, own: bool) -> None:
        self._stream = stream
        self._call = call
        self._reader = reader
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __del__(self) -> None:
        # Nobody reads on: the call ends with what it has shown.
        self._end()

    def close(self) -> Any:
        """Close the stream, as the library's own method does."""
        self._end()
        return self._stream.close()

    def _note(self, chunk: Any) -> None:
        self._call.chunk(self._reader.piece(chunk))

    def _fail(self, error: BaseException) -> None:
        # Who stops to read a stream has not met an error.
        if self._own and not isinstance(error, GeneratorExit):
            self._call.fail(error)

    def _end(self) -> None:
        if self._own:
            self._own = False
            self._call.end()


class TeedStream(Teed):
    """A stream that is iterated."""

    def __iter__(self) -> Iterator[Any]:
        try:
            for chunk in self._stream:
                self._note(chunk)
                yield chunk
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._end()

    def __next__(self) -> Any:
        try:
            chunk = next(self._stream)
        except BaseException as error:
            if not isinstance(error, StopIteration):
                self._fail(error)
            self._end()
            raise
        self._note(chunk)
        return chunk

    def __enter__(self) -> Self:
        self._stream.__enter__()
        return self

    def __exit__(self, *exc: object) -> Any:
        self._end()
        return self._stream.__exit__(*exc)


class TeedAsyncStream(Teed):
    """A stream that is awaited."""

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for chunk in self._stream:
                self._note(chunk)
                yield chunk
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._end()

    async def __anext__(self) -> Any:
        try:
            chunk = await anext(self._stream)
        except BaseException as error:
            if not isinstance(error, StopAsyncIteration):
                self._fail(error)
            self._end()
            raise
        self._note(chunk)
        return chunk

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> Any:
        self._end()
        return await self._stream.__aexit__(*exc)
