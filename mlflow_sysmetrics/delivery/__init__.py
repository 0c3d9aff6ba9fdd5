"""Where a measurement goes: MLflow runs, through outages of the store, and to disk.

What a run is to get are `operations`. They wait, in order, in its `outbox`, which may copy them to a `journal` on disk.
`replay` brings them to the `store`: in the thread of a `writer`, or in `sync`, which reads the journals that ended
processes have left.
"""
