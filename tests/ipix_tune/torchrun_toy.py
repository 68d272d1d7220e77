"""A distributed program that knows nothing of this project: every rank adds one, and rank 0 writes the sum down."""

import argparse
import json
import os
import pathlib
import time

import torch
import torch.distributed as dist


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--pids", type=pathlib.Path, help="folder that every rank leaves its process number in")
    asked = parser.parse_args()
    dist.init_process_group("gloo")
    if asked.pids:
        (asked.pids / f"{os.getpid()}").touch()
    for epoch in range(1, asked.epochs + 1):
        time.sleep(asked.pause)
        ranks = torch.ones(1)
        dist.all_reduce(ranks)
        if dist.get_rank() == 0:
            row = {
                "epoch": epoch,
                "val/dice": asked.lr * epoch,
                "ranks": ranks.item(),
                "node": os.environ["GROUP_RANK"],
            }
            with (asked.out / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
