"""`python -m trainers.train cfg.yaml`, alone or under torchrun: one training run from a config file."""

from trainers.cli.train import run

if __name__ == "__main__":
    run()
