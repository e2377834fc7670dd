"""Worker processes that decode untrusted films with limits of time, memory and privileges.

    from pneumoscan.workers.pool import FilmPool, Limits, Want

    pool = FilmPool(bundle, workers=2, waiting=32, limits=Limits(seconds=10, memory_mb=1024))
    await pool.start()                                               # BundleError, EnvironmentProblemError
    reading = await pool.read(path.read_bytes(), threshold=0.5)      # FilmError and its children; PoolFullError
    reading.row                                                      # the columns of `pneumoscan predict`, and more
    await pool.stop(grace=5)

`Want(heatmap=True, picture=True)` requests two PNG pictures beside the row. If a film crashes its worker, blocks it or exceeds its memory, only
this film gets an error, and the worker is replaced.

    pool.py       the pool: starts workers, gives them films, replaces them
    process.py    the films, their queue, and one worker as the pool sees it: start, requests, end
    protocol.py   messages between the two processes
    worker.py     the process itself, with its limits: bytes → row and pictures; other apps may use their own reader
"""
