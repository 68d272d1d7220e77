"""Where a study lies: its folder, its record, its copy in object storage."""
