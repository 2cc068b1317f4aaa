"""Those who write into the server's database take turns."""

import asyncio

from infra.services.prefect.turns import Turns


def test_turns_come_in_the_order_of_asking() -> None:
    said: list[str] = []

    async def write(turns: Turns, name: str) -> None:
        async with turns.turn():
            said.append(f"{name} begins")
            await asyncio.sleep(0.001)
            said.append(f"{name} ends")

    async def ask() -> None:
        turns = Turns()
        await asyncio.gather(*(write(turns, name) for name in "abc"))

    asyncio.run(ask())
    assert said == [f"{name} {does}" for name in "abc" for does in ("begins", "ends")]


def test_a_transaction_inside_another_is_part_of_its_turn() -> None:
    async def ask() -> None:
        turns = Turns(limit_s=60)
        async with turns.turn(), asyncio.timeout(5):
            async with turns.turn():
                pass
            async with turns.turn():
                pass

    asyncio.run(ask())


def test_nobody_waits_for_ever_for_a_turn() -> None:
    """As a transaction would that waits for another one."""

    async def ask() -> bool:
        turns = Turns(limit_s=0.01)
        came = asyncio.Event()

        async def other() -> None:
            async with turns.turn():
                came.set()

        waiting = asyncio.create_task(other())
        async with turns.turn():
            await asyncio.wait_for(came.wait(), 5)
        await waiting
        async with turns.turn():  # the first one's turn has ended once
            return True

    assert asyncio.run(ask())
