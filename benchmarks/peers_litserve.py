"""A model behind LitServe, in batches of at most 32. Run by `benchmarks.peers` in the peers' environment:
`python -m benchmarks.peers_litserve DIRECTORY TASK PORT WORKERS`.

LitServe reads the annotations when it builds its routes, so they are evaluated here.
"""

import sys
from typing import Any

import litserve

from benchmarks.peers_model import Model


class Api(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        self.model = Model(*sys.argv[1:3])

    def decode_request(self, request: dict[str, Any]) -> str:
        return str(request["text"])

    def predict(self, rows: list[str]) -> list[Any]:
        return self.model.many(rows)

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"answer": output}


if __name__ == "__main__":
    api = Api(max_batch_size=32, batch_timeout=0.01)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=int(sys.argv[4]))
    server.run(host="127.0.0.1", port=int(sys.argv[3]), generate_client_file=False, log_level="warning")
