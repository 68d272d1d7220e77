"""One training run. Imported before anything is computed: PyTorch and cuBLAS look at this variable once in a process,
at the first matrix product on a GPU, and without it none is allowed in deterministic mode."""

import os

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
