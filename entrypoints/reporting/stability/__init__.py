"""The report on repeated studies of one dataset."""
