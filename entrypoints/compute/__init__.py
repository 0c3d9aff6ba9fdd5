"""Where trials run: processes of this machine or of a Ray cluster."""
