"""Worker processes that decode films under limits of time, memory and privilege, for every app that takes films from strangers.

    from pneumoscan.apps.workers.pool import FilmPool, Limits, Want

    pool = FilmPool(bundle, workers=2, waiting=32, limits=Limits(seconds=10, memory_mb=1024))
    await pool.start()                                               # BundleError, EnvironmentProblemError
    reading = await pool.read(path.read_bytes(), threshold=0.5)      # FilmError and its children; PoolFullError
    reading.row                                                      # the columns of `pneumoscan predict`, and more
    await pool.stop(grace=5)

`Want(heatmap=True, picture=True)` asks for two PNG pictures beside the row. A film that crashes, hangs or overfills its worker costs
that film alone: it gets a typed error, and the worker is replaced.

    pool.py       the pool: starts workers, gives them films, replaces them; jobs.py: the films and their queue
    process.py    one worker, seen from outside: started, asked, ended
    protocol.py   what the two processes say to each other on their socket
    worker.py     the process itself, under its limits; reading.py: bytes → row and pictures; another app may bring its own reader
"""
