"""The mailbox between a trial and its workers, without Ray; and a real group of workers, which outlives its trials."""

import asyncio

import pytest

from ipix_tune.execution.mailbox import Mailbox
from tests.ipix_tune.running import assert_same_study, entries, run, tiny


def at_a_desk(scene):
    async def within_time():
        return await asyncio.wait_for(scene(Mailbox()), timeout=10)

    return asyncio.run(within_time())


async def work(mailbox, trial, rows):
    """Rank 0: sends rows until it is told to stop; returns how many went through."""
    config = await mailbox.take(trial)
    for number, row in enumerate(rows, 1):
        if not await mailbox.send(trial, number, {**config, "row": row}):
            return number - 1
    await mailbox.send(trial, len(rows) + 1, None)
    return len(rows)


async def follow(mailbox, trial, *, until=None):
    """The trial: reads rows until there are no more, or it is stopped at one."""
    await mailbox.give(trial, {"trial": trial})
    seen = []
    while (row := await mailbox.next(trial, len(seen) + 1)) is not None:
        seen.append((row["trial"], row["row"]))
        if row["row"] == until:
            break
    await mailbox.end(trial)
    return seen


def test_a_trial_sees_every_row_in_order():
    async def scene(mailbox):
        return await asyncio.gather(work(mailbox, 1, "abc"), follow(mailbox, 1))

    assert at_a_desk(scene) == [3, [(1, "a"), (1, "b"), (1, "c")]]


def test_workers_do_not_go_on_before_the_trial_has_seen_the_row():
    async def scene(mailbox):
        await mailbox.give(1, {})
        first = asyncio.create_task(mailbox.send(1, 1, {"row": "a"}))
        await mailbox.next(1, 1)
        waited = (await asyncio.wait([first], timeout=0.05))[0] == set()
        await asyncio.wait([asyncio.create_task(mailbox.next(1, 2))], timeout=0.05)
        return waited, await first

    assert at_a_desk(scene) == (True, True)


def test_a_stopped_trial_stops_its_workers_and_the_next_one_sees_no_row_of_it():
    async def scene(mailbox):
        async def workers():
            return [await work(mailbox, 1, "abc"), await work(mailbox, 2, "de")]

        async def trials():
            return [await follow(mailbox, 1, until="b"), await follow(mailbox, 2)]

        return await asyncio.gather(workers(), trials())

    assert at_a_desk(scene) == [[1, 2], [[(1, "a"), (1, "b")], [(2, "d"), (2, "e")]]]


def test_a_trial_that_is_over_before_its_workers_took_it_is_passed_over():
    async def scene(mailbox):
        await mailbox.give(1, {"trial": 1})
        await mailbox.end(1)
        return [await work(mailbox, 1, "a"), *await asyncio.gather(work(mailbox, 2, "b"), follow(mailbox, 2))]

    assert at_a_desk(scene) == [0, 1, [(2, "b")]]


def test_what_rank_0_says_is_heard_in_its_order_and_nothing_after_it_has_left():
    async def scene(mailbox):
        async def other():
            heard = [await mailbox.heard(1, number) for number in range(3)]
            await mailbox.leave(1, 1, of=2)
            return heard

        async def first():
            await mailbox.say(1, "a")
            await mailbox.say(1, "b")
            await mailbox.leave(1, 0, of=2)

        return (await asyncio.gather(other(), first()))[0]

    assert at_a_desk(scene) == ["a", "b", None]


def test_rank_0_leaves_a_trial_last_and_the_others_learn_that_it_is_over():
    async def scene(mailbox):
        first = asyncio.create_task(mailbox.leave(1, 0, of=2))
        waited = (await asyncio.wait([first], timeout=0.05))[0] == set()
        over = await mailbox.is_over(1), await mailbox.is_over(2)
        await mailbox.leave(1, 1, of=2)
        await first
        return waited, over

    assert at_a_desk(scene) == (True, (True, False))


def test_the_other_workers_may_be_given_time_to_end():
    async def scene(mailbox):
        await mailbox.end_others(1, 60.0)
        later = await mailbox.is_over(1)
        await mailbox.end_others(1, 0.0)
        return later, await mailbox.is_over(1)

    assert at_a_desk(scene) == (False, True)


@pytest.mark.slow
def test_trials_that_share_workers_end_as_trials_with_workers_of_their_own(tmp_path):
    """Some are stopped by ASHA, in between two of them the study is started again."""
    settings = {"resources": {"workers": 2, "cpus_per_worker": 0.5, "concurrent": 1}}
    for name in ("shared", "own"):
        (tmp_path / name).mkdir()
    shared = run(tiny(tmp_path / "shared", budget={"trials": 4}, **settings), report=False).folder
    own = None
    for trials in (1, 2, 3, 4):
        file = tiny(tmp_path / "own", budget={"trials": trials}, **settings)
        own = run(file, resume=trials > 1, report=False).folder
    assert_same_study(shared, own)
    assert {entry.state for entry in entries(shared).values()} == {"complete", "stopped"}
