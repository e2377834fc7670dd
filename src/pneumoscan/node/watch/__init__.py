"""What the node has read, watched: is it quick enough, and are the films still like those of the first weeks?

`weeks` counts by week and device; `drift` tests and says whether weeks differ from the reference weeks, for `node watch` and the web
page; `metrics` is for Prometheus, `agreement` for the hospital's own statistics. All of it reads the queue and writes nothing.
"""
