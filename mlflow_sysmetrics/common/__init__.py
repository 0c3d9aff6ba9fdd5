"""What several rooms need: threads, time limits, guards against errors, redaction of passwords, late imports."""
