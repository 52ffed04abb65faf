"""The commands, the only room that knows the configuration."""

JOBS = {  # the function of each, in mmgan.commands.<command>
    "train": "train_folds", "tune": "tune_folds", "synthesize": "synthesize", "evaluate": "judge_file", "compare": "compare",
}  # fmt: skip
