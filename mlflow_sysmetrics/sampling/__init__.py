"""What is read, and how.

`groups`: what can be asked for. `one_process`: at one moment; a new metric of a process begins there. `process_tree`:
the readings of all processes of a tree, added up and turned into rates. `container`, `gpu`: one
file for each other group. `files`: small files of the kernel, and rates.
"""
