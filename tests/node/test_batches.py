"""Calls for several items at once: who waits for what, and whose failure is whose."""

import asyncio

import pytest

from pneumoscan.errors import PacsAnswerError, PacsAwayError
from pneumoscan.node.work import Batches


def answers(call, items, most=4):
    """What each item gets, all of them added at once."""

    async def run():
        batches = Batches(call, most=most)
        return await asyncio.gather(*(batches.add(item) for item in items), return_exceptions=True)

    return asyncio.run(run())


def test_what_comes_meanwhile_goes_together():
    calls = []

    async def call(items):
        calls.append(list(items))
        await asyncio.sleep(0)
        return [10 * item for item in items]

    assert answers(call, range(10)) == [10 * item for item in range(10)]
    assert [item for items in calls for item in items] == list(range(10))
    assert max(map(len, calls)) == 4


def test_one_that_is_refused_holds_up_no_other():
    async def call(items):
        if 3 in items:
            raise PacsAnswerError("no")
        return [str(item) for item in items]

    given = answers(call, range(5), most=8)
    assert isinstance(given[3], PacsAnswerError)
    assert [one for one in given if isinstance(one, str)] == ["0", "1", "2", "4"]


def test_what_is_wrong_with_one_is_told_to_it_alone():
    async def call(items):
        return [ValueError() if item == 1 else item for item in items]

    first, second, third = answers(call, [0, 1, 2])
    assert (first, third) == (0, 2)
    assert isinstance(second, ValueError)


def test_a_pacs_that_is_away_is_away_for_all_and_the_next_call_is_made():
    calls = []

    async def call(items):
        calls.append(len(items))
        if len(calls) == 1:
            raise PacsAwayError("away")
        return list(items)

    async def run():
        batches = Batches(call, most=9)
        first = await asyncio.gather(*(batches.add(item) for item in range(3)), return_exceptions=True)
        return first, await batches.add(7)

    first, second = asyncio.run(run())
    assert [type(one) for one in first] == 3 * [PacsAwayError]
    assert (second, calls) == (7, [3, 1])


def test_who_is_cancelled_takes_nothing_from_the_others():
    async def call(items):
        await asyncio.sleep(0.01)
        return list(items)

    async def run():
        batches = Batches(call, most=9)
        tasks = [asyncio.create_task(batches.add(item)) for item in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third = asyncio.run(run())
    assert (first, third) == (0, 2)
    assert isinstance(second, asyncio.CancelledError)


@pytest.mark.parametrize("count", [1, 5])
def test_answers_must_be_as_many_as_items(count):
    async def call(items):
        return []

    async def run():
        batches = Batches(call, most=9)
        await asyncio.wait_for(asyncio.gather(*(batches.add(item) for item in range(count))), 5)

    with pytest.raises(ValueError, match="shorter"):
        asyncio.run(run())
