"""The work: `loop` claims rows and brings them to their ends by `steps`, several at once in `batches`; `reader` is the process that reads films."""
