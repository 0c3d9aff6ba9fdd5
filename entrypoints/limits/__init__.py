"""What a trial may cost: figures, predictions, and the ledger of what others have cost."""
