"""What a trial may cost: figures, predictions, and the history of what others have cost.

A `guard` acts for one trial, on the context that `search/trial` asks of the `cost_history`, which predicts by
`cost_model` and knows by `noise` how far costs differ by chance. `extrapolation` predicts a trial by its own steps.
"""
