"""What to try, and in which order.

`defaults` says what `auto` stands for. `spaces` has the values to try, `grid` all their combinations, `portfolio` what
a search that learns tries first, and `sampler` learns. `references` are models to compare with, `racing` says when a
trial cannot win any more, and `run_names` what trials are called.
"""
