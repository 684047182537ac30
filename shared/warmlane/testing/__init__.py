"""A fake of the whole service, so that an application tests its own code with neither Redis nor torch.

    lane = FakeLane()
    lane.answer("sentiment", lambda inputs, params: Table({"label": ["POSITIVE"], "score": [0.99]}))
    client = lane.client()                      # a real Client; lane.async_client() gives a real AsyncClient
    client.predict("sentiment", ["great"]).result(timeout=1)

Real are both clients, the checks of inputs, the codec in both directions, the states and errors of jobs. Pretended is
one live worker: it answers inside the call that enqueues, in the caller's thread, unless the lane is held. Nothing here
starts a thread, opens a socket or sleeps.

As a pytest fixture:

    @pytest.fixture
    def lane() -> FakeLane:
        return FakeLane()
"""

from warmlane.testing._lane import FakeLane
from warmlane.testing._transport import AsyncFakeTransport, FakeTransport

__all__ = ["AsyncFakeTransport", "FakeLane", "FakeTransport"]
