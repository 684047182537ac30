"""Echo: gives every row back as it came. Diagnoses the lane, from client to device thread, without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from warmlane.errors import InvalidParams
from warmlane_workers.tasks.base import Plan, Prepared, Task


class Echo(Task):
    """Result: the inputs."""

    budget_factor = 64

    def __init__(self, components: dict[str, Any], record: Mapping[str, Any] | None = None) -> None:
        pass

    def plan(self, params: Mapping[str, Any]) -> Plan:
        if params:
            raise InvalidParams("params: echo has none", field="params")
        return Plan()

    def is_quick(self, params: Mapping[str, Any]) -> bool:
        return True

    def prepare(self, row: Any, plan: Plan) -> list[Prepared]:
        return [Prepared({"row": row}, 1)]

    def forward(self, batch: Sequence[Prepared], plan: Plan) -> list[Any]:
        return [row.inputs["row"] for row in batch]

    def finish(self, outputs: list[Any], plan: Plan) -> Any:
        return outputs[0]

    def assemble(self, answers: list[Any], single: bool, output: str | None = None) -> Any:
        return answers[0] if single else answers
