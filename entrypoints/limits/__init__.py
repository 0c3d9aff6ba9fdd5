"""What a trial may cost: figures, predictions, and the ledger of what others have cost.

`stop_or_skip` acts for one trial, on what `search/trial` asks of the `ledger`, which predicts by `cost_model` and
`extrapolation`.
`duration_forecast` is of the whole search. `noise` and `order_effect` say how far figures differ by chance, which
`pareto` uses.
"""
