"""Runs an iterator in a thread of its own, a few items ahead."""

import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class _End:
    pass


class Prefetch(Generic[T]):
    """`with Prefetch(items, ahead, discard) as ahead_items: for item in ahead_items: ...`

    Errors of the iterator are raised where it is consumed. Leaving the block early stops the thread and joins it.
    discard: called with every item that was made and not consumed, so that an iterator that waits for its items to come
             back goes on to its end.
    """

    def __init__(self, items: Iterator[T], ahead: int, discard: Callable[[T], None]) -> None:
        self._items, self._discard = items, discard
        self._queue: queue.Queue[T | _End | BaseException] = queue.Queue(ahead)
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="prefetch", daemon=True)

    def __enter__(self) -> Iterator[T]:
        self._thread.start()
        return self._drain()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._left.set()
        while self._thread.is_alive():
            try:
                item = self._queue.get(timeout=0.05)
            except queue.Empty:
                continue
            if not isinstance(item, _End | BaseException):
                self._discard(item)
        self._thread.join()

    def _fill(self) -> None:
        last: _End | BaseException = _End()
        try:
            for item in self._items:
                if self._left.is_set():
                    self._discard(item)
                    break
                self._queue.put(item)
        except BaseException as error:
            last = error
        self._queue.put(last)

    def _drain(self) -> Iterator[T]:
        while True:
            item = self._queue.get()
            if isinstance(item, _End):
                return
            if isinstance(item, BaseException):
                raise item
            yield item
