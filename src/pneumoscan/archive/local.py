"""Read the shards of an archive on this machine, in several processes."""

import queue
import threading
from collections.abc import Iterator, Sequence

from pneumoscan.archive.work import Done, Job, ShardWorker


class Here:
    """Runs a `ShardWorker` with its process in each of several threads; see `work.Launcher`.

    Args:
        workers: Number of processes that read films.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def map(self, job: Job, shards: Sequence[int]) -> Iterator[Done]:
        """Write the parts of the shards; see `work.Launcher`."""
        todo: queue.SimpleQueue[int] = queue.SimpleQueue()
        for shard in shards:
            todo.put(shard)
        answers: queue.SimpleQueue[Done | BaseException] = queue.SimpleQueue()
        workers = [ShardWorker(job) for _ in range(min(self._workers, len(shards)))]
        threads = [
            threading.Thread(target=_work, args=(worker, todo, answers), daemon=True) for worker in workers
        ]
        try:
            for thread in threads:
                thread.start()
            for _ in shards:
                answer = answers.get()
                if isinstance(answer, BaseException):
                    raise answer
                yield answer
        finally:
            for worker in workers:
                worker.close()


def _work(
    worker: ShardWorker, todo: "queue.SimpleQueue[int]", answers: "queue.SimpleQueue[Done | BaseException]"
) -> None:
    try:
        while True:
            answers.put(worker.work(todo.get_nowait()))
    except queue.Empty:
        pass
    except BaseException as problem:  # noqa: BLE001 - the thread that asks must learn of it
        answers.put(problem)
