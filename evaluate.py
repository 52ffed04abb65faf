"""Judge synthetic samples against unseen real ones, beside the baselines: python evaluate.py synthetic=FILE."""

from mmgan.commands.entry import start

if __name__ == "__main__":
    start("evaluate")
