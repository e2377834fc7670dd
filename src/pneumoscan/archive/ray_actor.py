"""What runs in the workers of Ray. It needs nothing of Ray itself."""

import json
from typing import Any

from pneumoscan.archive.work import Job, ShardWorker
from pneumoscan.error_values import error_values
from pneumoscan.errors import PneumoscanError


class ShardActor:
    """Maps batches of shards' numbers to lines for stdout, in a worker of Ray."""

    def __init__(self, job: str) -> None:
        self._worker = ShardWorker(Job.from_text(job))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Write the parts of the shards in the column `shard`; errors that concern every film are lines too."""
        return {"line": [self._line(int(shard)) for shard in batch["shard"]]}

    def _line(self, shard: int) -> str:
        try:
            return json.dumps(vars(self._worker.work(shard)))
        except PneumoscanError as problem:
            return json.dumps(error_values(problem))
