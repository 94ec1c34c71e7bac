"""Work during which syncs fail: each once, or for a while; with another checkpoint beside it, or a restart behind it.

A sync that failed may have lost what it was to write, and a later one that succeeds proves nothing (`power`). So what
becomes of an acknowledged write shows whether anybody has forgotten the failure: another store that is open, or the
process that comes next. Stores that one process has open know of each other what stores of two processes would.

All these documents lie in shards that are there already: the name of a new one is made once, and cannot be made anew.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

from fsstore import FileStorage
from fsstore.errors import StorageError
from fsstore.filesystem.write import writer as writing
from tests.campaign.interpose import Action
from tests.campaign.recorded import FOREVER, IDS, Recorded, Shop, some

_NEVER_SECONDS = 60.0
_FAILING_SECONDS = 0.05


async def _alone(shop: Shop, *, sync: int) -> None:
    """Let one sync fail, and go on."""
    writing._IDLE_SECONDS = _NEVER_SECONDS
    storage = await shop.open()
    shop.fail(sync)
    for ids in ([IDS[0]], [IDS[3]], [IDS[0], IDS[1]]):
        if not await shop.save(storage, *ids):
            await _look_for_it(shop, storage, ids[0])
    await shop.delete(storage, IDS[3])
    await _closed(storage)
    async with await shop.open() as storage:
        await shop.save(storage, IDS[2])


async def _look_for_it(shop: Shop, storage: FileStorage, record_id: str) -> None:
    """See whether a commit that failed is there, once another one is acknowledged."""
    number = shop.number
    if await shop.save(storage, "witness"):
        record = await storage.load(record_id)
        if record is None or record["data"]["number"] < number:
            shop.tell(number, "gone")


async def _beside(shop: Shop, *, sync: int, times: int = 1) -> None:
    """Let syncs of a checkpoint fail, slowly, while another store that is open has a checkpoint of its own."""
    writing._IDLE_SECONDS = _NEVER_SECONDS
    one, other = await shop.open(), await shop.open()
    await shop.save(one, IDS[0])
    await shop.save(other, IDS[1])
    await shop.delete(one, IDS[2])
    shop.fail(sync, times=times, seconds=_FAILING_SECONDS)
    await asyncio.gather(_closed(one), _closed(other))
    assert shop.has_failed
    async with await shop.open() as storage:
        await shop.save(storage, IDS[2])


async def _ending(shop: Shop, *, sync: int, action: Action, times: int) -> None:
    """Let syncs of a checkpoint fail, and end with that."""
    writing._IDLE_SECONDS = _NEVER_SECONDS
    storage = await shop.open()
    await shop.save(storage, IDS[0], IDS[1])
    await shop.save(storage, IDS[1])
    await shop.delete(storage, IDS[2])
    shop.fail(sync, action, times=times)
    await _closed(storage)
    assert shop.has_failed


async def _go_on(shop: Shop) -> None:
    """Use the store as if nothing had been."""
    async with await shop.open() as storage:
        await shop.save(storage, IDS[2])
    async with await shop.open() as storage:
        await shop.save(storage, IDS[2])


async def _closed(storage: FileStorage) -> None:
    with suppress(StorageError):
        await storage.close()


def _restarted(sync: int, action: Action, times: int) -> Recorded:
    return Recorded(partial(_ending, sync=sync, action=action, times=times), some, then=_go_on)


SYNCS, SYNCS_OF_A_CHECKPOINT = range(1, 13), range(1, 7)
FAILING = {f"sync {at} fails": Recorded(partial(_alone, sync=at), some) for at in SYNCS}
FAILING |= {
    f"sync {at} fails beside another checkpoint": Recorded(partial(_beside, sync=at), some)
    for at in SYNCS_OF_A_CHECKPOINT
}
FAILING |= {
    f"three syncs from {at} on fail beside another checkpoint": Recorded(partial(_beside, sync=at, times=3), some)
    for at in SYNCS_OF_A_CHECKPOINT
}
FAILING |= {
    f"syncs fail from {at} on until a restart": _restarted(at, Action.fail, FOREVER) for at in SYNCS_OF_A_CHECKPOINT
}
FAILING |= {
    f"sync {at} fails before a kill": _restarted(at, Action.fail_then_kill, FOREVER) for at in SYNCS_OF_A_CHECKPOINT
}
