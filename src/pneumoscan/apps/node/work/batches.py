"""Calls that cost by the call, done for several items at once.

Nothing waits for a batch to fill: what comes while a call is under way goes together in the next one. A single item is
therefore not delayed, and the more comes the larger the batches are.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from pneumoscan.errors import PacsAnswerError

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batches(Generic[Item, Answer]):
    """Collects the items of many tasks; belongs to one event loop."""

    def __init__(
        self, call: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | Exception]]], *, most: int
    ) -> None:
        """Set it up.

        Args:
            call: Is given items, and returns for each its answer or what went wrong. What it raises is raised for all.
            most: Items of one call.
        """
        self._call, self._most = call, most
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._under_way: asyncio.Task[None] | None = None

    async def add(self, item: Item) -> Answer:
        """Wait until the call was done for an item, and return its answer; raises what went wrong with it."""
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._under_way is None:
            self._under_way = asyncio.create_task(self._empty())
        return await done

    async def _empty(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                answers = await self._done([item for item, _ in batch])
                for (_, done), answer in zip(batch, answers, strict=True):
                    _settle(done, answer)
        finally:
            self._under_way = None

    async def _done(self, items: Sequence[Item]) -> Sequence[Answer | Exception]:
        try:
            answers = await self._call(items)
            return [answer for _, answer in zip(items, answers, strict=True)]
        except PacsAnswerError as problem:
            if len(items) == 1:
                return [problem]
            # One of them may be the reason, and must not hold up the others.
            return [answer for item in items for answer in await self._done([item])]
        except Exception as problem:  # noqa: BLE001 - raised by `add`
            return [problem] * len(items)


def _settle(done: "asyncio.Future[Answer]", answer: Answer | Exception) -> None:
    if done.done():  # whoever waited was cancelled
        return
    if isinstance(answer, Exception):
        done.set_exception(answer)
    else:
        done.set_result(answer)
