"""TensorBoard's logger, whose every file is whole."""

import os
from pathlib import Path

from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from mmgan.data.writing import folder_beside


class WholeTensorBoardLogger(TensorBoardLogger):
    """Lightning's logger; `hparams.yaml` is written whole or not at all, also by a process that is killed."""

    @rank_zero_only
    def save(self) -> None:
        path = Path(self.log_dir, self.NAME_HPARAMS_FILE)
        if path.parent.is_dir() and not path.exists():  # Lightning then leaves it alone
            with folder_beside(path) as room:
                save_hparams_to_yaml(room / path.name, self.hparams)
                os.replace(room / path.name, path)
        super().save()
