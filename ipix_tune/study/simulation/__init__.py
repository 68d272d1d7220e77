"""A study on learning curves instead of trainings."""
