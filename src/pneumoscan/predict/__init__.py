"""Many films: `sources` lists them, `loop` reads them in order, `pictures` and `sheet` draw them, `prevalence` tells what rates mean."""
