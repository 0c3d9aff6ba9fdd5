"""Without code: run a command, deliver what was left, and the project backend."""
