"""Where the user's environment sends metrics to, and an exporter that keeps its log to itself."""

from __future__ import annotations

import logging
import os
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.metrics.export import MetricExporter

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
METRICS_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_VERBOSITY: Final = "GRPC_VERBOSITY"
_INTERVAL: Final = "OTEL_METRIC_EXPORT_INTERVAL"
_DEFAULT_INTERVAL_S: Final = 5.0
_ANSWER: Final = re.compile(
    r"batch code: (\d{3})|error code: StatusCode\.(?!UNAVAILABLE|DEADLINE)([A-Z_]+)"
    r"|Transient error ([A-Z][A-Za-z ]{1,40}) encountered"
)
"""What the exporters log of an answer that is no success."""
_LOGGERS: Final = ("opentelemetry", "urllib3", "requests", "grpc")


def _variable(name: str) -> str:
    return os.environ.get(name, "").strip()


def is_wanted() -> bool:
    """Return whether the environment names a receiver and nothing switches metrics off."""
    exporters = _variable("OTEL_METRICS_EXPORTER").lower()
    return (
        bool(_variable(METRICS_ENDPOINT) or _variable(ENDPOINT))
        and _variable("OTEL_SDK_DISABLED").lower() != "true"
        and (not exporters or any(one.strip()[:4] == "otlp" for one in exporters.split(",")))
    )


def place() -> str:
    """Return host and port of the receiver, and the variable that names it."""
    name = METRICS_ENDPOINT if _variable(METRICS_ENDPOINT) else ENDPOINT
    endpoint = _variable(name)
    # The rest of the address may hold a password.
    host = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}").netloc.rpartition("@")[2]
    return f"{host} ({name})"


def reason(said: str) -> str:
    """Return in a few words why an export failed, by what the exporter logged of it.

    Its own words are long and repeat the address, which may hold a password.
    """
    if "refused" in said.lower():
        return "connection refused"
    found = _ANSWER.search(said)
    return f"it answered {found[1] or found[2] or found[3]}" if found else "no answer in time"


def interval_s() -> float:
    """Return the seconds from one export to the next."""
    try:
        told_ms = float(_variable(_INTERVAL))
    except ValueError:
        return _DEFAULT_INTERVAL_S
    return told_ms / 1000 if 0 < told_ms < float("inf") else _DEFAULT_INTERVAL_S


def exporter(timeout_s: float) -> MetricExporter:
    """Return an exporter as the environment describes it.

    Raises:
        Exception: A variable holds what the exporter cannot use, or gRPC is not installed.
    """
    protocol = next(filter(None, map(_variable, _PROTOCOLS)), "http/protobuf")
    if protocol == "grpc":
        with _quiet_core():
            from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc

            with Quiet():
                return grpc.OTLPMetricExporter(timeout=timeout_s)
    from opentelemetry.exporter.otlp.proto.http import metric_exporter as http

    with Quiet():
        return http.OTLPMetricExporter(timeout=timeout_s)


class Quiet(logging.Filter):
    """Keeps what this thread logs while it exports out of the user's reports.

    The libraries log each failure and pytest shows log records with whatever test is running.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()
        self._quieted: list[logging.Logger] = []
        self._heard: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is of another thread."""
        if record.thread != self._thread:
            return True
        if record.levelno >= logging.WARNING:
            self._heard.append(record.getMessage())
        return False

    def take(self) -> str:
        """Return the warnings and errors since the last time as one text."""
        heard, self._heard = self._heard, []
        return " ".join(heard)

    def __enter__(self) -> Self:
        self._quieted = list(_loggers())
        for logger in self._quieted:
            logger.addFilter(self)
        return self

    def __exit__(self, *exception: object) -> None:
        for logger in self._quieted:
            logger.removeFilter(self)


@contextmanager
def _quiet_core() -> Iterator[None]:
    """Let gRPC's core, which writes to stderr itself, read when it starts that it is not to."""
    if _variable(_VERBOSITY):
        yield
        return
    os.environ[_VERBOSITY] = "NONE"
    try:
        yield
    finally:
        del os.environ[_VERBOSITY]


def _loggers() -> Iterator[logging.Logger]:
    """Yield the loggers of the libraries; a filter holds for its own logger alone."""
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if name.partition(".")[0] in _LOGGERS and isinstance(logger, logging.Logger):
            yield logger
