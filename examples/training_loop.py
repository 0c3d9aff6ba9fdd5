"""A loop that calls its callbacks as Lightning does. One of them records, and ends the training at a limit."""

import mlflow
import numpy as np

from mlflow_sysmetrics import SystemMetricsLogger


class Recorder:
    """With Lightning it would be a `lightning.pytorch.Callback`: the hooks have the same names."""

    def on_fit_start(self, trainer):
        self.logger = SystemMetricsLogger(limits="elapsed_s<=2", on_break=lambda stop: trainer.stop(str(stop))).start()

    def on_train_epoch_start(self, trainer):
        self.phase = self.logger.phase("train")
        self.phase.__enter__()

    def on_train_batch_start(self, trainer):
        self.step = self.logger.step()
        self.step.__enter__()

    def on_train_batch_end(self, trainer):
        self.step.__exit__(None, None, None)

    def on_train_epoch_end(self, trainer):
        self.phase.__exit__(None, None, None)

    def on_fit_end(self, trainer):
        self.logger.stop()


class Trainer:
    """Fits a line by gradient descent, epoch by epoch, until somebody stops it."""

    def __init__(self, callback):
        self.callback, self.stopped_for = callback, None

    def stop(self, reason):
        self.stopped_for = reason

    def fit(self, X, y, epochs):
        weights = np.zeros(X.shape[1])
        self.callback.on_fit_start(self)
        for epoch in range(epochs):
            self.callback.on_train_epoch_start(self)
            for rows in np.array_split(np.arange(len(X)), 50):
                self.callback.on_train_batch_start(self)
                weights -= 0.01 * X[rows].T @ (X[rows] @ weights - y[rows]) / len(rows)
                self.callback.on_train_batch_end(self)
            self.callback.on_train_epoch_end(self)
            mlflow.log_metric("loss", float(np.mean((X @ weights - y) ** 2)), step=epoch)
            if self.stopped_for:
                break
        self.callback.on_fit_end(self)
        return epoch + 1


random = np.random.default_rng(0)
X = random.normal(size=(50_000, 40))
y = X @ random.normal(size=40)
with mlflow.start_run(run_name="training loop"):
    trainer = Trainer(Recorder())
    epochs = trainer.fit(X, y, epochs=100_000)
    print(f"{epochs} epochs, stopped: {trainer.stopped_for}")
