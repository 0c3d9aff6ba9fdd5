"""Without code: the commands of `mlflow-sysmetrics` (`cli`), and the project `backend`.

`run` starts a command in this process's place (`passthrough`), and `outside` watches it. `phase_marks`, `doctor`,
`views` and `ui` are behind the commands of that name; `sync` is in `delivery`.
"""
