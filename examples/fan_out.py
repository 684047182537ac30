"""Many questions at once from one event loop: 64 in flight, answered in batches, collected in order.

    python examples/fan_out.py [--model HUB_ID_OR_DIRECTORY] [--texts 256]

Needs a running `warmlane worker`.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from warmlane import AsyncClient


async def embed(client: AsyncClient, texts: list[str]) -> list[object]:
    """Each text is a job of its own; the worker makes the batches."""
    gate = asyncio.Semaphore(64)

    async def one(text: str) -> object:
        async with gate:
            return await client.predict("embedder", text, params={"pooling": "mean"}).result(timeout=120)

    return await asyncio.gather(*(one(text) for text in texts))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--texts", type=int, default=256)
    options = parser.parse_args()
    async with AsyncClient() as client:
        await client.save("embedder", options.model, task="feature-extraction").result(timeout=600)
        await client.load("embedder", dtype="float32").result(timeout=600)
        texts = [f"document number {number} of many" for number in range(options.texts)]
        began = time.perf_counter()
        vectors = await embed(client, texts)
        print(f"{len(vectors)} texts, {len(vectors) / (time.perf_counter() - began):.0f} a second")


if __name__ == "__main__":
    asyncio.run(main())
