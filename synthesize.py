"""Write synthetic labelled samples of trained folds into one file: python synthesize.py ckpt=FILE_OR_FOLDER."""

from mmgan.commands.entry import start

if __name__ == "__main__":
    start("synthesize")
