"""The shipped model. Read in this order: `spec` (model.json), `load`, `write`; then `records`, `heatmap`.

Nothing here needs the training libraries.
"""
