"""The forms that launch runs, and their fields."""
