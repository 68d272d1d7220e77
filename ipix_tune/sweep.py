"""`python -m ipix_tune.sweep STUDY.yaml`: the same as `ipix-tune sweep STUDY.yaml`."""

from ipix_tune.cli.exit_codes import run
from ipix_tune.cli.sweep import app

if __name__ == "__main__":
    run(app)
