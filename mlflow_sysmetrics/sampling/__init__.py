"""What is read, and how.

`groups`: what can be asked for. `readings`: one process at one moment; a new metric of a process begins there.
`process`: readings of a tree of processes, added up and turned into rates. `container`, `pressure`, `gpu`, `energy`:
one file for each other group. `files`: small files of the kernel, and rates.
"""
