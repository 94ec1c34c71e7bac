"""The contract of lists: order and limits, streams, metadata, sessions and threads."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from fsstore.errors import StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.clock import HandClock
from fsstore.testing.backend import BackendFixtures, refusal
from fsstore.testing.finding import NOTES, ids_of, streamed_records


class ListContract(BackendFixtures):
    """Many records at once, to read."""

    # -- order and limits ---------------------------------------------------------------------------------------------

    async def test_the_most_recently_updated_comes_first_and_ties_go_by_id(
        self, storage: IUnifiedStorage, clock: HandClock
    ) -> None:
        await storage.batch_save([{"id": "b"}, {"id": "a"}, {"id": "\U0001f600"}, {"id": "\uffee"}])
        clock.turn()
        await storage.batch_save([{"id": "z"}, {"id": "y"}])
        clock.turn()
        await storage.update("b", {"data": {"n": 1}})

        assert ids_of(await storage.list()) == ["b", "y", "z", "a", "\uffee", "\U0001f600"]
        assert ids_of(await storage.list_metadata()) == ["b", "y", "z", "a", "\uffee", "\U0001f600"]

    async def test_limit_and_offset_cut_a_window_out_of_the_list(
        self, storage: IUnifiedStorage, clock: HandClock
    ) -> None:
        for number in range(7):
            await storage.save({"id": str(number)})
            clock.turn()
        everything = ids_of(await storage.list())
        assert everything == ["6", "5", "4", "3", "2", "1", "0"]

        for limit, offset in [
            (0, 0),
            (1, 0),
            (3, 0),
            (3, 2),
            (3, 5),
            (3, 7),
            (3, 99),
            (99, 0),
            (2**70, 0),
            (3, 2**70),
            (None, 2**70),
            (2**63, 2**63),
            (None, 0),
            (None, 5),
        ]:
            end = None if limit is None else offset + limit
            assert ids_of(await storage.list(limit=limit, offset=offset)) == everything[offset:end]
            assert ids_of(await storage.list_metadata(limit=limit, offset=offset)) == everything[offset:end]

    @pytest.mark.parametrize(
        ("order_by", "expected"),
        [
            ("id", "abcd"),
            ("-id", "dcba"),
            ("data.metadata.rank", "cabd"),
            ("-data.metadata.rank", "bdac"),
            ("updated_at", "abcd"),
            ("-updated_at", "dcba"),
            ("version", "abcd"),
            ("data.outside", "dcba"),
        ],
    )
    async def test_order_by_a_path_both_ways(
        self, storage: IUnifiedStorage, clock: HandClock, order_by: str, expected: str
    ) -> None:
        for record_id, rank in (("a", 2), ("b", 3), ("c", 1), ("d", 3)):
            await storage.save({"id": record_id, "data": {"metadata": {"rank": rank}, "outside": -ord(record_id)}})
            clock.turn()

        assert ids_of(await storage.list(order_by=order_by)) == list(expected)
        assert ids_of(await storage.list(limit=2, offset=1, order_by=order_by)) == list(expected[1:3])
        assert ids_of(await storage.list_metadata(order_by=order_by)) == list(expected)

    async def test_order_by_a_path_that_some_records_lack_loses_none(self, storage: IUnifiedStorage) -> None:
        await storage.batch_save(NOTES)

        up = ids_of(await storage.list(order_by="data.metadata.status"))
        down = ids_of(await storage.list(order_by="-data.metadata.status"))

        assert sorted(up) == sorted(down) == list("abcde")
        assert up.index("b") < up.index("a")
        assert down.index("a") < down.index("b")

    async def test_bounds_that_are_no_counts_are_refused(self, storage: IUnifiedStorage) -> None:
        bounds: list[tuple[Any, Any]] = [
            (-1, 0),
            (1, -1),
            (1.5, 0),
            (1.0, 0),
            ("1", 0),
            (True, 0),
            (1, None),
            (1, False),
        ]

        for limit, offset in bounds:
            assert await refusal(storage.list(limit=limit, offset=offset), StorageValidationError)
            assert await refusal(storage.list_metadata(limit=limit, offset=offset), StorageValidationError)

    async def test_an_order_that_is_no_path_is_refused(self, storage: IUnifiedStorage) -> None:
        orders: list[Any] = ["", "-", "a..b", "$where", 5, ("id", -1), [("id", -1)], ["id"], {"id": 1}, True]

        for order_by in orders:
            assert await refusal(storage.list(order_by=order_by), StorageValidationError)
            assert await refusal(storage.list_metadata(order_by=order_by), StorageValidationError)

    # -- streams ------------------------------------------------------------------------------------------------------

    async def test_a_stream_gives_each_record_once_in_the_order_of_ids(self, storage: IUnifiedStorage) -> None:
        names = [*(f"{number:02}" for number in range(22)), "\uffee", "\U0001f600", "Z"]
        await storage.batch_save([{"id": name} for name in reversed(names)])

        async with aclosing(storage.stream_list(batch_size=10)) as batches:
            found = [ids_of(batch) async for batch in batches]

        assert [len(batch) for batch in found] == [10, 10, 5]
        assert [name for batch in found for name in batch] == sorted(names)

    async def test_an_empty_store_streams_nothing(self, storage: IUnifiedStorage) -> None:
        async with aclosing(storage.stream_list()) as batches:
            assert [batch async for batch in batches] == []

    async def test_a_stream_may_be_left_early(self, storage: IUnifiedStorage) -> None:
        await storage.batch_save([{"id": str(number)} for number in range(9)])

        async with aclosing(storage.stream_list(batch_size=2)) as batches:
            async for batch in batches:
                assert ids_of(batch) == ["0", "1"]
                break

        await storage.save({"id": "after"})
        assert await storage.count() == 10

    async def test_a_record_that_stays_is_streamed_once_while_others_come_and_go(
        self, storage: IUnifiedStorage, clock: HandClock
    ) -> None:
        lasting = [f"{number:02}" for number in range(30)]
        await storage.batch_save([{"id": name} for name in lasting])

        found: list[str] = []
        async with aclosing(storage.stream_list(batch_size=4)) as batches:
            async for batch in batches:
                clock.turn()
                at = len(found)
                found += ids_of(batch)
                await storage.transaction(
                    [
                        {"type": "save", "data": {"id": f"00{at}"}},
                        {"type": "save", "data": {"id": f"{at:02}a"}},
                        {"type": "delete", "id": f"{at - 4:02}a"},
                        {"type": "update", "id": f"{at:02}", "data": {"data": {"n": at}}},
                        {"type": "update", "id": "29", "data": {"data": {"n": at}}},
                    ]
                )

        assert [name for name in found if name in lasting] == lasting
        assert len(set(found)) == len(found)

    async def test_a_batch_may_have_room_for_more_than_there_can_be(self, storage: IUnifiedStorage) -> None:
        await storage.batch_save([{"id": "a"}, {"id": "b"}])

        assert ids_of(await streamed_records(storage, None, 2**70)) == ["a", "b"]

    async def test_a_batch_size_that_is_no_positive_count_is_refused(self, storage: IUnifiedStorage) -> None:
        sizes: list[Any] = [0, -1, 1.5, "10", True, None]

        for batch_size in sizes:
            assert await refusal(streamed_records(storage, None, batch_size), StorageValidationError)

    # -- metadata, sessions, threads ----------------------------------------------------------------------------------

    async def test_list_metadata_gives_the_envelope_and_the_metadata_and_no_data(
        self, storage: IUnifiedStorage, clock: HandClock
    ) -> None:
        await storage.batch_save(NOTES)

        views = await storage.list_metadata(order_by="id")

        times = {"version": 1, "created_at": clock.text, "updated_at": clock.text}
        assert views[0] == {
            "id": "a",
            "type": "note",
            "session_id": "s1",
            "thread_id": "t1",
            "metadata": {"status": "open", "tags": ["red", "blue"], "n": 1},
            **times,
        }
        assert views[3] == {"id": "d", "type": "memo", "metadata": NOTES[3]["data"]["metadata"], **times}
        assert views[4] == {"id": "e", "type": "memo", "metadata": {"status": "open"}, **times}

    async def test_records_are_found_by_their_session_and_thread(self, storage: IUnifiedStorage) -> None:
        await storage.batch_save(NOTES)

        assert sorted(ids_of(await storage.get_by_session("s1"))) == ["a", "b"]
        assert sorted(ids_of(await storage.get_by_thread("t1"))) == ["a", "c"]
        assert await storage.get_by_session("nobody") == []
        assert await storage.get_by_thread("s1") == []
