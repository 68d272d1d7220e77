"""A training program that knows nothing of this project: reports a Dice that depends on `--lr`, epoch after epoch."""

import argparse
import json
import os
import random
import subprocess
import sys
import time


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume")
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--fail-at", type=int, default=0)
    parser.add_argument("--helper", help="start a process of another session, and write its number to this file")
    asked = parser.parse_args()
    if asked.helper:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        with open(asked.helper, "w") as file:  # noqa: PTH123
            file.write(str(child.pid))
    state = os.path.join(asked.resume or asked.out, "state.json")  # noqa: PTH118
    done = 0
    if asked.resume and os.path.exists(state):  # noqa: PTH110
        with open(state) as file:  # noqa: PTH123
            done = json.load(file)["epoch"]
    for epoch in range(done + 1, asked.epochs + 1):
        time.sleep(asked.pause)
        if epoch == asked.fail_at and not done:
            raise SystemExit(f"the dog ate epoch {epoch}")
        noise = random.Random(f"{asked.seed} {epoch} {asked.lr}").gauss(0, 1)
        dice = 0.9 - (asked.lr - 0.1) ** 2 - 0.3 / epoch + 0.003 * noise
        sys.stdout.write(f"epoch {epoch}: dice {dice:.6f}\n")
        sys.stdout.flush()
        with open(os.path.join(asked.out, "metrics.jsonl"), "a") as file:  # noqa: PTH118, PTH123
            file.write(json.dumps({"epoch": epoch, "val/dice": dice}) + "\n")
        with open(state, "w") as file:  # noqa: PTH123
            json.dump({"epoch": epoch}, file)


if __name__ == "__main__":
    main()
