import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from mmgan.data.datamodule import EndlessBatches, FoldDataModule
from mmgan.data.dataset import Dataset
from mmgan.errors import MmganError
from mmgan.schema import DataSchema

# Lightning's own use of a torch class, and its remark on a checkpoint that was moved
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:The dirpath has changed")


def dataset(n=200, groups=None):
    row = np.arange(n, dtype=np.float32)
    x = {"b": row[:, None], "a": np.tile(row[:, None, None], (1, 2, 3))}
    schema = DataSchema({"b": (1,), "a": (2, 3)}, (0, 1, 2, 3), ("0", "1", "2", "3"))
    return Dataset(schema, x, np.arange(n) % 4, groups=groups)


def module(data=None, fold=1, **options):
    made = FoldDataModule(data or dataset(), fold, **{"batch_size": 16, "steps_per_epoch": 7, **options})
    made.setup("fit")
    return made


def test_batches_are_plain_tuples_in_schema_order():
    data = module()
    loader = data.train_dataloader()
    assert len(loader) == 7
    batches = list(loader)
    assert len(batches) == 7
    for b, a, y in batches:
        assert b.shape == (16, 1) and a.shape == (16, 2, 3) and y.shape == (16,)
        assert b.dtype == a.dtype == torch.float32 and y.dtype == torch.int64
        assert torch.equal(y, b[:, 0].long() % 4) and torch.equal(a[:, 1, 2], b[:, 0])
        assert set(b[:, 0].long().tolist()) <= set(data.training_indices.tolist())


def test_each_pass_serves_every_row_once():
    indices = np.arange(100, 150)
    stream = []
    batches = EndlessBatches(indices, 16, 5, seed=3)
    for epoch in range(10):
        batches.set_epoch(epoch)
        stream += torch.cat(list(batches)).tolist()
    passes = [stream[start : start + 50] for start in range(0, 800, 50)]
    assert all(sorted(rows) == indices.tolist() for rows in passes)
    assert len({tuple(rows) for rows in passes}) == 16
    batches.set_epoch(4)  # from nowhere
    assert torch.cat(list(batches)).tolist() == stream[320:400]
    other = EndlessBatches(indices, 16, 5, seed=4)
    assert torch.cat(list(other)).tolist() != stream[:80]


def test_fewer_rows_than_a_batch():
    batches = list(EndlessBatches(np.arange(5), 16, 3, seed=0))
    assert [len(rows) for rows in batches] == [16] * 3
    assert np.bincount(torch.cat(batches)[:45]).tolist() == [9] * 5


@pytest.mark.parametrize("option", ["batch_size", "steps_per_epoch"])
def test_impossible_batches(option):
    with pytest.raises(MmganError, match=f"^{option}=0: expected an integer >= 1"):
        module(**{option: 0}).train_dataloader()


@pytest.mark.parametrize(
    ("rows", "views", "expected"),
    [(200, None, (64, 7)), (2000, 2.0, (64, 7)), (200, 2.0, (20, 7)), (200, 0.5, (20, 4)), (40, 3.0, (16, 6))],
)
def test_few_samples_have_fewer_and_smaller_batches(rows, views, expected):
    data = module(dataset(rows), batch_size=64, views_per_epoch=views, final=True)  # four fifths of the rows train
    batches = list(data.train_dataloader())
    assert (len(batches[0][-1]), len(batches)) == expected


def test_rows_are_split_three_ways_and_not_copied():
    data = dataset()
    made = module(data)
    parts = [set(rows.tolist()) for rows in (made.training_indices, made.inner_val_indices, made.fold.val_indices)]
    assert [len(part) for part in parts] == [128, 32, 40] and len(set.union(*parts)) == 200
    served = torch.cat([b[:, 0] for b, _, _ in made.val_dataloader()])
    np.testing.assert_array_equal(served, made.inner_val_indices)
    x, y = made.samples(made.inner_val_indices)
    np.testing.assert_array_equal(x["b"][:, 0], made.inner_val_indices)
    np.testing.assert_array_equal(y, made.inner_val_indices % 4)
    assert made.train_dataloader().tensors[1].data_ptr() == data.x_train["a"].ctypes.data
    assert made.schema == data.schema


@pytest.mark.parametrize("options", [{"final": True}, {"inner_val": 0.0}, {"data": dataset(40)}])
def test_without_a_monitor_all_training_rows_are_to_fit(options):
    made = module(**options)
    assert len(made.inner_val_indices) == 0 and len(made.val_dataloader()) == 0
    np.testing.assert_array_equal(made.training_indices, made.fold.train_indices)


def test_group_split_holds_within_the_fold_too():
    groups = np.arange(200) // 10
    made = module(dataset(groups=groups), split="group")
    parts = [set(groups[rows]) for rows in (made.training_indices, made.inner_val_indices, made.fold.val_indices)]
    assert all(parts) and sum(map(len, parts)) == 20


@pytest.mark.parametrize(
    ("options", "fit", "monitor"),
    [({"rows_per_class": 14}, 56, 0), ({"rows_per_class": 20}, 64, 16), ({"imbalance_ratio": 10}, 57, 15)],
)
def test_limited_rows_are_all_that_is_served(options, fit, monitor):
    whole, made = module(), module(**options)
    assert (len(made.training_indices), len(made.inner_val_indices)) == (fit, monitor)
    seen = np.sort(np.r_[made.training_indices, made.inner_val_indices])
    np.testing.assert_array_equal(seen, made.fold.train_indices)
    np.testing.assert_array_equal(np.union1d(seen, made.fold.extra_indices), whole.fold.train_indices)
    np.testing.assert_array_equal(made.fold.val_indices, whole.fold.val_indices)
    served = torch.cat([b[:, 0] for b, _, _ in made.train_dataloader()]).long().tolist()
    assert set(served) <= set(made.training_indices.tolist())
    np.testing.assert_array_equal(module(**options, seed=1).fold.train_indices, seen)  # not the training's seed


def test_an_unknown_fold_is_named():
    with pytest.raises(MmganError, match="there is no fold=9"):
        module(fold=9)


class Watcher(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen, self.validated = [], 0

    def training_step(self, batch, index):
        self.seen.append((self.current_epoch, index, batch[0][:, 0].tolist()))
        return self.layer(batch[0]).mean()

    def validation_step(self, batch, index):
        self.validated += 1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(folder, epochs, checkpoint=None, on_train_end=True, **options):
    watcher = Watcher()
    trainer = L.Trainer(
        max_epochs=epochs,
        callbacks=[ModelCheckpoint(folder, save_last=True, save_on_train_epoch_end=on_train_end)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    data = FoldDataModule(dataset(), 1, batch_size=16, steps_per_epoch=7, **options)
    trainer.fit(watcher, data, ckpt_path=checkpoint, weights_only=True)
    return watcher


@pytest.mark.parametrize("on_train_end", [True, False])
@pytest.mark.parametrize("final", [True, False])
def test_lightning_sets_the_epoch_and_a_resumed_run_draws_the_same_batches(tmp_path, on_train_end, final):
    whole = train(tmp_path / "whole", 4, on_train_end=on_train_end, final=final)
    assert len({tuple(rows) for _, _, rows in whole.seen}) == 28
    assert (whole.validated > 0) is not final
    train(tmp_path / "half", 2, on_train_end=on_train_end, final=final)
    rest = train(tmp_path / "rest", 4, tmp_path / "half" / "last.ckpt", on_train_end, final=final)
    assert rest.seen == whole.seen[14:]
