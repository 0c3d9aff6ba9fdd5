"""What a trial may cost: figures, predictions, and the ledger of what others have cost.

`stop_or_skip` acts for one trial, on what `search/trial` asks of the `ledger`, which predicts by `cost_model` and knows
by `noise` how far costs differ by chance. `extrapolation` predicts a trial by its own steps.
"""
