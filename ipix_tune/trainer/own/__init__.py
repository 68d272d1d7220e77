"""Our own trainer (`trainers`), as a study sees it."""
