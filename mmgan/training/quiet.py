"""What Lightning and its friends say of every run."""

import logging
import warnings


def quiet_lightning() -> None:
    """Silence what Lightning says of every run, and warnings that do not apply to this project's runs."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for message in (
        ".*Checkpoint directory .* exists and is not empty.*",  # the run's own folder, where params.yaml lies
        ".*isinstance.treespec, LeafSpec.*",  # Lightning's use of torch, not ours
        "Glyph .* missing from.*",  # a class whose name is in a script that matplotlib's font lacks
        ".*module.s. in eval mode at the start of training.*",  # a frozen first stage
    ):
        warnings.filterwarnings("ignore", message=message)
