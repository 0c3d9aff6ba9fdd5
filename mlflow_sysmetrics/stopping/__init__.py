"""What ends a watched process before its own end, and what it died of.

`process_criteria`: which limits a process may have, and their text. `stop_button`: the tag in the MLflow UI. `brake`
ends the process once, for either, by `end_tree`. `cause_of_death`: whether the kernel killed it for lack of memory.
"""
