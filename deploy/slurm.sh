#!/usr/bin/env bash
# A study as one Slurm job: sbatch deploy/slurm.sh, from the checkout; the same again takes it up. See docs/how-to/slurm.md.
# sbatch deploy/slurm.sh confirm: its confirmation. Other words go to the command: sbatch deploy/slurm.sh --set budget.trials=200
#SBATCH --job-name=ipix-tune --ntasks-per-node=1
#SBATCH --nodes=4 --gpus-per-node=4 --cpus-per-task=32 --time=24:00:00    # change; CPUs: 6 a trial, so 4 trials and the driver
set -euo pipefail
source .venv/bin/activate                              # change: an environment that every node sees
container=()         # or the image of deploy/Dockerfile, without the line above: (apptainer exec --nv --bind /shared ipix-tune.sif)
study=search_spaces/voc.yaml studies=/shared/studies name=voc             # change
sweep=(--set trainer.data.root=/shared/VOC2012 --set resources.gpus_per_worker=1)    # change

if [[ ${1:-} == confirm ]]; then
  command=(ipix-tune confirm "$studies/$name" "${@:2}")
  if [[ -f $studies/$name/confirm/plan.json ]]; then command+=(--resume); fi
else
  command=(python -m ipix_tune.sweep "$study" --set "storage=$studies" "${sweep[@]}" "$@")
  if [[ -f $studies/$name/study.yaml ]]; then command+=(--resume); fi
fi

RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
port=$((20000 + SLURM_JOB_ID % 10000))                 # jobs that share a node need different ones
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts%%$'\n'*}                                 # the first, on which this script runs
"${container[@]}" ray start --head --block --port $port --num-cpus "$SLURM_CPUS_PER_TASK" &
if ((SLURM_JOB_NUM_NODES > 1)); then
  others=$((SLURM_JOB_NUM_NODES - 1))
  gpus=${SLURM_GPUS_PER_NODE:+--gpus-per-node=$SLURM_GPUS_PER_NODE}       # some sites give a step none unless it asks
  gpus=${gpus:-${SLURM_GPUS_ON_NODE:+--gres=gpu:$SLURM_GPUS_ON_NODE}}     # the job asked by --gres
  srun --nodes=$others --ntasks=$others --cpus-per-task="$SLURM_CPUS_PER_TASK" ${gpus:+"$gpus"} --exclude="$head" \
    "${container[@]}" ray start --block --address "$head:$port" --num-cpus "$SLURM_CPUS_PER_TASK" &
fi
timeout 300 "${container[@]}" python - "$head:$port" "$SLURM_JOB_NUM_NODES" <<'END'    # the plan counts the nodes that are there
import subprocess, sys, time, ray
while subprocess.run(["ray", "status", "--address", sys.argv[1]], capture_output=True).returncode:
    time.sleep(1)
ray.init(sys.argv[1])
while len(ray.nodes()) < int(sys.argv[2]):
    time.sleep(1)
END
"${container[@]}" "${command[@]}" --address "$head:$port"
