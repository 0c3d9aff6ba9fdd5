"""The gate: is a candidate worse than its baseline, in what it costs, in what it logs, or on the rows of a table?

`contest` is the way through: two sides run in pairs, `verdict` decides, and `output` says it. `two_programs`,
`two_models` and `two_endpoints` read what the user gives. `programs` runs the commands, in `worktrees` where the
baseline is a commit; `imports` sees whether each has its own code. `models` serves the models, `scores` compares their
predictions, `promotion` moves an alias. `asked_in_turn` asks two servers.
"""
