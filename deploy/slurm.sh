#!/usr/bin/env bash
# A study as one Slurm job: sbatch deploy/slurm.sh, from the checkout; the same again takes it up. See docs/how-to/cluster.md.
#SBATCH --job-name=ipix-tune --ntasks-per-node=1
#SBATCH --nodes=4 --gpus-per-node=4 --cpus-per-task=32 --time=24:00:00    # change
set -euo pipefail
source .venv/bin/activate                              # change: an environment that every node sees
sweep=(search_spaces/voc.yaml --set storage=/shared/studies --set trainer.data.root=/shared/VOC2012
       --set resources.gpus_per_worker=1)              # change
if [[ -f /shared/studies/voc/study.yaml ]]; then sweep+=(--resume); fi    # change: storage and the study's name

RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
port=$((20000 + SLURM_JOB_ID % 10000))                 # jobs that share a node need different ones
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts%%$'\n'*}                                 # the first, on which this script runs
ray start --head --port $port --num-cpus "$SLURM_CPUS_PER_TASK"
if ((SLURM_JOB_NUM_NODES > 1)); then
  others=$((SLURM_JOB_NUM_NODES - 1))
  srun --nodes=$others --ntasks=$others --cpus-per-task="$SLURM_CPUS_PER_TASK" --exclude="$head" \
    ray start --block --address "$head:$port" --num-cpus "$SLURM_CPUS_PER_TASK" &
fi
timeout 300 python - "$head:$port" "$SLURM_JOB_NUM_NODES" <<'END'          # the plan counts the nodes that are there
import sys, time, ray
ray.init(sys.argv[1])
while len(ray.nodes()) < int(sys.argv[2]):
    time.sleep(1)
END
python -m ipix_tune.sweep "${sweep[@]}" --address "$head:$port"
