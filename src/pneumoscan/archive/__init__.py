"""Read archives of 100,000 to 10 million films, on one machine or a cluster, with exactly one row for each input.

    names ──► listing ──► shards of 500 inputs ──► launcher: workers ──► one part per shard ──► verification ──► _SUCCESS
                          └ plan.json                └ reader processes

    OUT/_pneumoscan/plan.json, shards/000000 …   the inputs, the model and the options; written once
    OUT/part-000000.parquet …                    the rows of a shard, in the order of its inputs; each appears in one step
    OUT/_manifest.json, OUT/_SUCCESS             counts and hashes; written when every input has its row

Whatever is killed, and whenever: a shard has its part or not. A part depends only on its shard, so writing it twice changes
nothing.

    run.py           the way above; storage.py: disks and object stores
    inputs.py        the inputs, as a stream of folders, patterns, lists and object stores, and the plan
    shard.py         what a worker does with a shard, on this machine or in Ray; its part as CSV or Parquet
    film_readers.py  films in a process of their own
    on_ray.py        the driver of Ray, which `cluster` starts
"""
