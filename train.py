"""Train the generator of one cross-validation fold: python train.py [fold=3|all] [data=...] [model=...]."""

from mmgan.commands.entry import start

if __name__ == "__main__":
    start("train")
