"""The report on one study, and those of the same trials under limits."""
