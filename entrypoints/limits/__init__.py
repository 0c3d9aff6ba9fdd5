"""What a trial may cost: figures, predictions, and the history of what others have cost.

The `cost_history` of a study makes numbers of relative limits (`judging`), knows by `noise` how far costs differ by
chance, and predicts by `cost_model`. On this outlook a `guard` acts for one trial. `extrapolation` predicts a trial by
its own steps.
"""
