"""An estimator that takes, gives and does what its parameters say; in a module of its own, which workers import."""

import time

from sklearn.base import BaseEstimator, ClassifierMixin


class Fit(ClassifierMixin, BaseEstimator):
    """Its memory stays until it is gone. With `fails` it raises where row 0 is missing; `ends` is a Ctrl-C in it."""

    def __init__(self, megabytes=1, cpu_s=0.0, gives=0.5, fails=False, ends=False):
        self.megabytes, self.cpu_s, self.gives, self.fails, self.ends = megabytes, cpu_s, gives, fails, ends

    def fit(self, X, y):
        self.kept_, began = b"x" * (self.megabytes * 1_000_000), time.thread_time()
        while time.thread_time() < began + self.cpu_s:
            pass
        if self.ends:
            raise KeyboardInterrupt
        if self.fails and 0 not in X:
            raise ValueError("row 0 is missing")
        return self

    def score(self, X, y, sample_weight=None):
        return self.gives
