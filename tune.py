"""Tune the generator of one cross-validation fold with Optuna: python tune.py fold=3 n_trials=50."""

from mmgan.commands.entry import start

if __name__ == "__main__":
    start("tune")
