"""Run a script with all training cut to a few epochs: few_epochs.py SCRIPT FOLDER [EPOCHS].

The script runs in the folder, to which it saves its pictures. What it prints means nothing; that
it runs to its end does.
"""

import dataclasses
import os
import runpy
import sys
from pathlib import Path

from skncvqvae._training import TrainConfig

script, folder = Path(sys.argv[1]).resolve(), sys.argv[2]
n_epochs = int(sys.argv[3]) if len(sys.argv) > 3 else 2
configure = TrainConfig.of


def configure_short(estimator):
    """Return the training that an estimator asks for, but no longer than `n_epochs`."""
    return dataclasses.replace(configure(estimator), max_epochs=n_epochs)


TrainConfig.of = staticmethod(configure_short)
os.chdir(folder)
sys.argv = [str(script)]
runpy.run_path(str(script), run_name="__main__")
