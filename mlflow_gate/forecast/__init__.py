"""The forecast: what a program will cost at a size that was not run, by runs of smaller ones.

`curve` fits and predicts, `samples` runs the program or reads logged runs, and `command` says it and records it.
"""
