"""How a stage process logs: one line per record, time in UTC."""

import logging
import sys
import time


class _OneLine(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"

    def format(self, record: logging.LogRecord) -> str:
        # A traceback is one record too: its lines are joined so that line-based tools keep it whole.
        return super().format(record).replace("\n", " | ")


def set_up(level: str) -> None:
    """Send all logging of this process to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def quiet() -> None:
    """For commands that talk to a person: the Kafka client's own log lines say nothing that our sentences do not."""
    logging.basicConfig(level=logging.CRITICAL, force=True)
