"""What the node has read, watched: is it quick enough, and are the films still like those of the first weeks?

`weeks` counts by week and device, `comparing` has the tests, `drift` says when weeks differ from the reference weeks; `watching` puts
them together. `view` is for the web page, `metrics` for Prometheus, `exporting` and `agreement` for the
hospital's own statistics. All of it reads the queue and writes nothing.
"""
