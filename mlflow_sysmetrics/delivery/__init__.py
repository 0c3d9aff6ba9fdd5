"""Where points go: batches to MLflow runs, through outages of the store, and to disk.

A `Point` waits in the `backlog` of its run: in memory, or in a `spool` file. The `run_queue` adds what else of that run
waits, and knows what the store has of the run. The `writer`'s thread sends it in a `batch` to the `store`; while that
is away it pauses as `retries` says. What is left at the end stays on disk (`spool`, `leftovers`) for `sync`.
"""
