"""The runs of the bundle in MLflow: how a command's run begins, is recorded and ends, its tags and its links."""
